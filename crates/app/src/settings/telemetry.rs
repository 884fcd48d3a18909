//! The kinds of value that say where spans go, and how many.

use toml::Value;

use super::kind::{Kind, Raw};
use crate::cli::ServerUrl;

/// The address of a receiver; none where it is empty.
pub(super) struct Endpoint;

impl Kind for Endpoint {
    type Value = Option<ServerUrl>;

    fn parse(&self, raw: Raw<'_>) -> Result<Option<ServerUrl>, String> {
        let expected = "an address such as http://127.0.0.1:4318, without /v1/traces";
        let text = raw.text().map(str::trim).ok_or(expected)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_http = ["http://", "https://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        if !is_http || text.trim_end_matches('/').ends_with("/v1/traces") {
            return Err(expected.to_owned());
        }
        let url = ServerUrl::parse(text).map_err(|why| format!("{expected}: {why}"))?;
        Ok(Some(url))
    }

    fn show(&self, value: &Option<ServerUrl>) -> Value {
        Value::String(value.as_ref().map(ServerUrl::to_string).unwrap_or_default())
    }

    fn value_name(&self) -> &'static str {
        "URL"
    }
}

/// A share, from none of them to all.
pub(super) struct Ratio;

impl Kind for Ratio {
    type Value = f64;

    fn parse(&self, raw: Raw<'_>) -> Result<f64, String> {
        let number = match raw {
            Raw::File(Value::Float(number)) => Some(*number),
            Raw::File(Value::Integer(number)) => i32::try_from(*number).ok().map(f64::from),
            _ => raw.text().and_then(|text| text.trim().parse().ok()),
        };
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| "a number from 0 to 1, such as 0.05".to_owned())
    }

    fn show(&self, value: &f64) -> Value {
        Value::Float(*value)
    }

    fn value_name(&self) -> &'static str {
        "RATIO"
    }
}
