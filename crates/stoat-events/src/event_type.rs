//! The type of an event: the named ones, and custom names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{InvalidName, NAME_RULE, is_name};

/// What kind of thing happened.
///
/// Exhaustive on purpose in its named variants only: the enum is
/// `#[non_exhaustive]`, and any other valid name is [`EventType::Custom`], so a
/// reader never breaks on a type that it does not know.
///
/// ```
/// use stoat_events::EventType;
///
/// assert_eq!(EventType::ScanStarted.as_str(), "scan_started");
/// assert_eq!("scan_started".parse(), Ok(EventType::ScanStarted));
///
/// let custom: EventType = "invoice.paid".parse().unwrap();
/// assert_eq!(custom.as_str(), "invoice.paid");
/// assert!("Invoice Paid".parse::<EventType>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// `health_status`: the readiness of a service changed.
    HealthStatus,
    /// `scan_started`: work on a path began.
    ScanStarted,
    /// `scan_completed`: work on a path ended.
    ScanCompleted,
    /// `project_created`: a project exists now.
    ProjectCreated,
    /// `heartbeat`: a sign of life, built by the server, never kept in a log.
    Heartbeat,
    /// `gap`: the receiver missed events that it can no longer get.
    Gap,
    /// Any other valid name.
    Custom(CustomType),
}

impl EventType {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Every named type.
    pub const NAMED: &[Self] = &[
        Self::HealthStatus,
        Self::ScanStarted,
        Self::ScanCompleted,
        Self::ProjectCreated,
        Self::Heartbeat,
        Self::Gap,
    ];

    /// Parses a wire name.
    ///
    /// # Errors
    /// [`InvalidName`] where `name` does not match
    /// `[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*` or is longer than
    /// [`MAX_LEN`](Self::MAX_LEN) bytes.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        if let Some(named) = Self::NAMED.iter().find(|named| named.as_str() == name) {
            Ok(named.clone())
        } else if Self::is_valid(name) {
            Ok(Self::Custom(CustomType(name.into())))
        } else {
            Err(InvalidName::new("type", NAME_RULE, Self::MAX_LEN, name))
        }
    }

    /// Says whether `name` is a valid wire name.
    pub const fn is_valid(name: &str) -> bool {
        is_name(name, Self::MAX_LEN)
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::HealthStatus => "health_status",
            Self::ScanStarted => "scan_started",
            Self::ScanCompleted => "scan_completed",
            Self::ProjectCreated => "project_created",
            Self::Heartbeat => "heartbeat",
            Self::Gap => "gap",
            Self::Custom(name) => &name.0,
        }
    }

    /// Says whether only the server itself publishes this type: `gap`,
    /// `heartbeat` and `health_status`.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Self::HealthStatus | Self::Heartbeat | Self::Gap)
    }

    /// Says whether this is none of the named types.
    pub fn is_custom(&self) -> bool {
        matches!(self, Self::Custom(_))
    }
}

/// A valid name that is none of the named types; made by [`EventType::parse`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CustomType(Arc<str>);

impl CustomType {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CustomType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({})", self.as_str())
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::parse(name)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_types_round_trip() {
        for name in [
            "health_status",
            "scan_started",
            "scan_completed",
            "project_created",
            "heartbeat",
            "gap",
        ] {
            let parsed = EventType::parse(name).unwrap();
            assert!(!parsed.is_custom(), "{name}");
            assert_eq!(parsed.as_str(), name);
        }
    }

    #[test]
    fn reserved_types() {
        let reserved: Vec<_> = ["health_status", "heartbeat", "gap", "scan_started", "x"]
            .into_iter()
            .filter(|name| EventType::parse(name).unwrap().is_reserved())
            .collect();
        assert_eq!(reserved, ["health_status", "heartbeat", "gap"]);
    }

    #[test]
    fn serde_as_a_string() {
        let custom: EventType = serde_json::from_str("\"a.b\"").unwrap();
        assert_eq!(serde_json::to_string(&custom).unwrap(), "\"a.b\"");
        assert!(serde_json::from_str::<EventType>("\"A\"").is_err());
        assert!(serde_json::from_str::<EventType>("5").is_err());
    }
}
