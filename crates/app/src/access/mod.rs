//! Who may do what: rights, the tokens of the settings, and JSON Web Tokens.

mod jwt;
mod token;

#[cfg(test)]
mod jwt_tests;

pub(crate) use jwt::Refusal;
pub use jwt::{Jwt, JwtAlgorithm, JwtSettings, KeyFile};
pub(crate) use token::Digest;
pub use token::Token;

/// Something that a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To publish events.
    Publish,
    /// To see events, live and retained.
    Subscribe,
    /// To see metrics and connections, and to close connections.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Admin];

    /// The right of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }

    /// Its name in settings and claims.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Admin => "admin",
        }
    }
}

/// Some of the rights; none by default. No right includes another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights([bool; Right::ALL.len()]);

impl Rights {
    /// Every right.
    pub const ALL: Self = Self([true; Right::ALL.len()]);

    /// Whether `right` is among them.
    pub fn has(self, right: Right) -> bool {
        self.0[right as usize]
    }

    /// Those that are there.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        let mut all = Self::default();
        for right in rights {
            all.0[right as usize] = true;
        }
        all
    }
}
