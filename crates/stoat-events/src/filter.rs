//! What a reader wants to see: event types and topic patterns.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::name::InvalidName;
use crate::{EventType, Scope, TopicPattern};

/// Selects events by type and by topic; both must match where both are given.
///
/// `None` selects everything, an empty list nothing. `heartbeat` and `gap` pass
/// every filter. A filter [within](Self::within) a [`Scope`] selects nothing that
/// is outside of it.
///
/// ```
/// use stoat_events::Filter;
///
/// let filter = Filter::from_lists(Some("scan_started,scan_completed"), Some("project.*"))?;
/// assert!(filter.matches("scan_started", Some("project.apollo")));
/// assert!(!filter.matches("scan_started", None));
/// assert!(!filter.matches("project_created", Some("project.apollo")));
/// # Ok::<(), stoat_events::InvalidFilter>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(description = "What a reader wants to see; null: everything.")
)]
pub struct Filter {
    types: Option<Box<[EventType]>>,
    topics: Option<Box<[TopicPattern]>>,
    /// No part of what was asked for.
    #[serde(skip)]
    scope: Scope,
}

impl Filter {
    /// The longest list of types or of topics.
    pub const MAX_ENTRIES: usize = 256;

    /// Selects every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects by these types and these topic patterns.
    ///
    /// # Errors
    /// [`InvalidFilter`] where a list has more than
    /// [`MAX_ENTRIES`](Self::MAX_ENTRIES) entries.
    pub fn new(
        types: Option<Vec<EventType>>,
        topics: Option<Vec<TopicPattern>>,
    ) -> Result<Self, InvalidFilter> {
        Ok(Self {
            types: bounded("types", types)?,
            topics: bounded("topics", topics)?,
            scope: Scope::all(),
        })
    }

    /// The same lists within a scope, which replaces the one that was there.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Parses the comma-separated lists of a query string; an empty text is an
    /// empty list, which selects nothing.
    ///
    /// # Errors
    /// [`InvalidFilter`] names the list and the entry that is no valid name.
    pub fn from_lists(types: Option<&str>, topics: Option<&str>) -> Result<Self, InvalidFilter> {
        Self::new(
            types
                .map(|list| parse_list(list, EventType::parse))
                .transpose()?,
            topics
                .map(|list| parse_list(list, TopicPattern::parse))
                .transpose()?,
        )
    }

    /// Says whether an event of this type and topic is selected.
    pub fn matches(&self, event_type: &str, topic: Option<&str>) -> bool {
        let by_type = |types: &[EventType]| types.iter().any(|t| t.as_str() == event_type);
        let by_topic = |topics: &[TopicPattern]| topics.iter().any(|p| p.matches(topic));
        matches!(event_type, "heartbeat" | "gap")
            || (self.types.as_deref().is_none_or(by_type)
                && self.topics.as_deref().is_none_or(by_topic)
                && self.scope.allows(topic))
    }

    /// Says whether every event is selected.
    pub fn is_all(&self) -> bool {
        self.types.is_none() && self.topics.is_none() && self.scope.is_all()
    }

    /// The selected types; `None` for all.
    pub fn types(&self) -> Option<&[EventType]> {
        self.types.as_deref()
    }

    /// The selected topic patterns; `None` for all.
    pub fn topics(&self) -> Option<&[TopicPattern]> {
        self.topics.as_deref()
    }

    /// What the lists can select from.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// As in a client's `subscribe` message: absent and `null` both mean everything.
impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Lists {
            #[serde(default)]
            types: Option<Vec<EventType>>,
            #[serde(default)]
            topics: Option<Vec<TopicPattern>>,
        }
        let Lists { types, topics } = Lists::deserialize(deserializer)?;
        Self::new(types, topics).map_err(serde::de::Error::custom)
    }
}

/// A filter list was too long or had an entry that is no valid name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFilter(Cause);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Name(InvalidName),
    TooMany { field: &'static str, count: usize },
}

impl InvalidFilter {
    /// The list at fault: `types` or `topics`.
    pub fn field(&self) -> &'static str {
        match &self.0 {
            Cause::Name(name) if name.field() == "type" => "types",
            Cause::Name(_) => "topics",
            Cause::TooMany { field, .. } => field,
        }
    }
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Name(name) => name.write(&format!("each entry of `{}`", self.field()), f),
            Cause::TooMany { field, count } => {
                write!(
                    f,
                    "`{field}` may have at most {} entries, got {count}",
                    Filter::MAX_ENTRIES
                )
            }
        }
    }
}

impl std::error::Error for InvalidFilter {}

fn bounded<T>(
    field: &'static str,
    list: Option<Vec<T>>,
) -> Result<Option<Box<[T]>>, InvalidFilter> {
    match list {
        Some(list) if list.len() > Filter::MAX_ENTRIES => Err(InvalidFilter(Cause::TooMany {
            field,
            count: list.len(),
        })),
        list => Ok(list.map(Vec::into_boxed_slice)),
    }
}

fn parse_list<T>(
    list: &str,
    parse: fn(&str) -> Result<T, InvalidName>,
) -> Result<Vec<T>, InvalidFilter> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    // One more than allowed is enough to be refused by `bounded`.
    list.split(',')
        .take(Filter::MAX_ENTRIES + 1)
        .map(|entry| parse(entry).map_err(|name| InvalidFilter(Cause::Name(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_selects_all_and_empty_selects_nothing() {
        assert!(Filter::all().matches("x", None));
        assert!(Filter::all().is_all());
        let nothing = Filter::from_lists(Some(""), None).unwrap();
        assert!(!nothing.matches("x", None));
        assert!(nothing.matches("gap", None) && nothing.matches("heartbeat", None));
    }

    #[test]
    fn a_scope_narrows_whatever_the_lists_say() {
        let scope = || Scope::topics([TopicPattern::parse("a.*").unwrap()]);
        let all = Filter::all().within(scope());
        assert!(!all.is_all());
        assert!(all.matches("x", Some("a.b")) && !all.matches("x", Some("b")));
        assert!(!all.matches("x", None));
        assert!(all.matches("gap", None) && all.matches("heartbeat", None));

        let wide = Filter::from_lists(None, Some("*,b"))
            .unwrap()
            .within(scope());
        assert!(wide.matches("x", Some("a.b")) && !wide.matches("x", Some("b")));
        let narrow = Filter::from_lists(Some("x"), Some("a.b")).unwrap();
        let narrow = narrow.within(scope());
        assert!(narrow.matches("x", Some("a.b")) && !narrow.matches("x", Some("a.c")));
        assert!(!narrow.matches("y", Some("a.b")));

        let shown = serde_json::to_string(&all).unwrap();
        assert_eq!(shown, r#"{"types":null,"topics":null}"#);
    }

    #[test]
    fn refused_lists_are_named() {
        let error = Filter::from_lists(Some("a,B"), None).unwrap_err();
        assert_eq!(error.field(), "types");
        assert!(error.to_string().contains("\"B\""), "{error}");
        assert_eq!(
            Filter::from_lists(None, Some("a,,b")).unwrap_err().field(),
            "topics"
        );
        let long = vec!["a"; Filter::MAX_ENTRIES + 1].join(",");
        let error = Filter::from_lists(None, Some(&long)).unwrap_err();
        assert!(error.to_string().contains("256"), "{error}");
    }

    #[test]
    fn deserialises_as_in_a_control_message() {
        let filter: Filter =
            serde_json::from_str(r#"{"action":"subscribe","types":["a"],"topics":null}"#).unwrap();
        assert!(filter.matches("a", None) && !filter.matches("b", None));
        let all: Filter = serde_json::from_str("{}").unwrap();
        assert!(all.is_all());
        assert!(serde_json::from_str::<Filter>(r#"{"types":["A"]}"#).is_err());
        assert!(serde_json::from_str::<Filter>(r#"{"types":"a"}"#).is_err());
    }
}
