//! What the server is, in forms that programs read: made of its own code and settings.

mod openapi;
mod operations;
#[cfg(test)]
mod reference;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use stoat_events::{Catalog, EventType};

use super::answer::{Answer, text};
use super::health::Report;
use super::schemas::{SchemaError, Schemas};
use crate::settings::Settings;

/// A description of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Description {
    /// JSON Schema (draft 2020-12) of an event.
    Event,
    /// OpenAPI 3.1 of the HTTP routes.
    OpenApi,
    /// AsyncAPI 3 of the WebSocket.
    AsyncApi,
    /// TypeScript types of the events.
    TypeScript,
}

impl Description {
    /// Every description.
    pub const ALL: [Self; 4] = [Self::Event, Self::OpenApi, Self::AsyncApi, Self::TypeScript];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::OpenApi => "openapi",
            Self::AsyncApi => "asyncapi",
            Self::TypeScript => "typescript",
        }
    }

    /// The description of a server with these settings, as text.
    ///
    /// # Errors
    /// A schema of `schemas_dir` cannot be used.
    pub fn write(self, settings: &Settings) -> Result<String, SchemaError> {
        let schemas = Schemas::load(settings.schemas_dir.as_deref())?;
        Ok(self.text(settings, &catalog(&schemas)))
    }

    fn text(self, settings: &Settings, catalog: &Catalog) -> String {
        let value = match self {
            Self::Event => catalog.json_schema(),
            Self::OpenApi => openapi::document(settings, catalog),
            Self::AsyncApi => {
                stoat_ws_hub::asyncapi(catalog, "stoat", env!("CARGO_PKG_VERSION"), "/ws")
            }
            Self::TypeScript => return catalog.typescript(),
        };
        pretty(&value)
    }

    /// What it is, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Event => "JSON Schema of an event",
            Self::OpenApi => "OpenAPI of the HTTP routes",
            Self::AsyncApi => "AsyncAPI of the WebSocket",
            Self::TypeScript => "TypeScript types of the events",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Event => "application/schema+json",
            Self::OpenApi => "application/vnd.oai.openapi+json;version=3.1",
            Self::AsyncApi => "application/vnd.aai.asyncapi+json;version=3.0.0",
            Self::TypeScript => "text/plain; charset=utf-8",
        }
    }
}

/// The descriptions that are served, made once.
#[derive(Debug)]
pub(super) struct Descriptions([Bytes; Description::ALL.len()]);

impl Descriptions {
    pub(super) fn new(settings: &Settings, schemas: &Schemas) -> Self {
        let catalog = catalog(schemas);
        Self(Description::ALL.map(|description| description.text(settings, &catalog).into()))
    }

    /// An answer; all of them share the bytes.
    pub(super) fn to_answer(&self, wanted: Description) -> Answer {
        let body = self.0[wanted as usize].clone();
        text(StatusCode::OK, wanted.content_type(), body)
    }
}

/// The events that the server knows the payloads of.
fn catalog(schemas: &Schemas) -> Catalog {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let report = settings.into_generator().into_root_schema_for::<Report>();
    schemas.describe(Catalog::new().with_schema(&EventType::HealthStatus, report.to_value()))
}

fn pretty(value: &Value) -> String {
    // Strings and numbers always serialise.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
