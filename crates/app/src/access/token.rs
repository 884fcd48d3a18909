//! The tokens of the settings, kept as digests only.

use std::fmt;

use sha2::{Digest as _, Sha256};
use stoat_events::{Filter, Scope, TopicPattern};

use super::Rights;

/// A token of the settings. Its text is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    name: String,
    digest: Digest,
    rights: Rights,
    topics: Vec<TopicPattern>,
}

impl Token {
    /// The shortest and the longest token, in characters.
    pub const LEN: [usize; 2] = [16, 512];
    /// The longest name, in characters.
    pub const MAX_NAME: usize = 64;
    /// The most patterns of topics.
    pub const MAX_TOPICS: usize = Filter::MAX_ENTRIES;

    /// A token; the error says what is wrong, and never quotes `token`.
    ///
    /// # Errors
    /// The name is empty, too long or has control characters; the token is too short, too long or
    /// has other than visible ASCII characters; there are too many topics.
    pub fn new(
        name: &str,
        token: &str,
        rights: Rights,
        topics: Vec<TopicPattern>,
    ) -> Result<Self, String> {
        let length = name.chars().count();
        if !(1..=Self::MAX_NAME).contains(&length) || name.contains(char::is_control) {
            return Err(format!(
                "`name` must have 1 to {} characters, none of them a control character",
                Self::MAX_NAME
            ));
        }
        let [least, most] = Self::LEN;
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(least..=most).contains(&token.len()) {
            return Err(format!(
                "`token` must have {least} to {most} visible ASCII characters, and no spaces"
            ));
        }
        if topics.len() > Self::MAX_TOPICS {
            return Err(format!(
                "`topics` may have at most {} patterns",
                Self::MAX_TOPICS
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            digest: Digest::of(token),
            rights,
            topics,
        })
    }

    /// What it is called; unique among the tokens.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it allows.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// Patterns of the topics that it is good for.
    pub fn topics(&self) -> &[TopicPattern] {
        &self.topics
    }

    /// The topics that it is good for.
    pub fn scope(&self) -> Scope {
        Scope::topics(self.topics.iter().cloned())
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

/// The SHA-256 of a secret. Comparing digests tells nothing of the secrets by the time it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// As text, to tell tokens apart.
    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Right;

    fn token(name: &str, token: &str) -> Result<Token, String> {
        let topics = vec![TopicPattern::parse("a.*").unwrap()];
        Token::new(name, token, [Right::Publish].into_iter().collect(), topics)
    }

    #[test]
    fn a_token_has_its_rights_and_topics() {
        let token = token("ci", "0123456789abcdef").unwrap();
        assert!(token.rights().has(Right::Publish) && !token.rights().has(Right::Admin));
        assert!(token.scope().allows(Some("a.b")) && !token.scope().allows(None));
        assert_eq!(token.digest(), Digest::of("0123456789abcdef"));
        assert_ne!(token.digest(), Digest::of("0123456789abcdeg"));
    }

    #[test]
    fn neither_debug_output_nor_an_error_shows_it() {
        let shown = format!("{:?}", token("ci", "0123456789abcdef").unwrap());
        assert!(
            shown.contains("ci") && !shown.contains("0123456789"),
            "{shown}"
        );
        assert!(
            !shown.contains(&Digest::of("0123456789abcdef").to_hex()),
            "{shown}"
        );
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcdef ghi",
            "0123456789abcdefü",
        ] {
            let error = token("ci", bad).unwrap_err();
            assert!(
                error.contains("`token`") && !error.contains("0123"),
                "{error}"
            );
        }
        assert!(token("ci", &"x".repeat(513)).is_err());
        assert!(token("", "0123456789abcdef").is_err());
        assert!(token("a\nb", "0123456789abcdef").is_err());
    }
}
