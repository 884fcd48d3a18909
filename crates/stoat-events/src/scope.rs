//! What a reader or a publisher may touch at all: topic patterns that nothing it asks for can widen.

use std::sync::Arc;

use crate::TopicPattern;

/// The topics that somebody has a right to; everything by default. Cheap to clone.
///
/// An event without a topic needs the pattern `*`, which is a right to everything.
///
/// ```
/// use stoat_events::{Filter, Scope, TopicPattern};
///
/// let scope = Scope::topics([TopicPattern::parse("project.*")?]);
/// assert!(scope.allows(Some("project.apollo")));
/// assert!(!scope.allows(Some("user.ann")) && !scope.allows(None));
///
/// // A filter within a scope: what was asked for, as far as there is a right to it.
/// let filter = Filter::all().within(scope);
/// assert!(filter.matches("scan_started", Some("project.apollo")));
/// assert!(!filter.matches("scan_started", Some("user.ann")));
/// # Ok::<(), stoat_events::InvalidName>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(Option<Arc<[TopicPattern]>>);

impl Scope {
    /// A right to everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// A right to what one of the patterns matches; to nothing where there is none.
    ///
    /// Each event is compared with each pattern: bound their number where it comes from outside.
    pub fn topics(patterns: impl IntoIterator<Item = TopicPattern>) -> Self {
        let patterns: Arc<[TopicPattern]> = patterns.into_iter().collect();
        if patterns.iter().any(TopicPattern::is_all) {
            return Self::all();
        }
        Self(Some(patterns))
    }

    /// Whether there is a right to an event of this topic, or of none.
    pub fn allows(&self, topic: Option<&str>) -> bool {
        let patterns = self.0.as_deref();
        patterns.is_none_or(|patterns| patterns.iter().any(|p| p.matches(topic)))
    }

    /// Whether there is a right to everything.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(patterns: &[&str]) -> Scope {
        Scope::topics(patterns.iter().map(|p| TopicPattern::parse(p).unwrap()))
    }

    #[test]
    fn rights_to_all_to_some_and_to_nothing() {
        for all in [Scope::all(), scope(&["a", "*"])] {
            assert!(all.is_all() && all.allows(None) && all.allows(Some("x.y")));
        }
        let some = scope(&["a", "b.*"]);
        assert!(!some.is_all() && some.allows(Some("a")) && some.allows(Some("b.c.d")));
        assert!(!some.allows(Some("b")) && !some.allows(Some("a.b")) && !some.allows(None));
        let nothing = scope(&[]);
        assert!(!nothing.is_all() && !nothing.allows(None) && !nothing.allows(Some("a")));
    }
}
