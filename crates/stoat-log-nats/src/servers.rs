//! The addresses of NATS servers, with what is secret in them kept apart.

use std::error::Error;
use std::fmt;

use async_nats::{ConnectOptions, ServerAddr};

/// Most addresses; a client learns of the others of a cluster by itself.
const MOST: usize = 100;

/// The addresses of the servers of one NATS cluster, as in
/// `nats://user:password@a.example:4222,nats://b.example:4222`; `tls://` asks for TLS.
///
/// A user and password, or a token alone, may stand before the host; those of the first
/// address that has any are used for all. Neither is shown by `Display` and `Debug`.
///
/// ```
/// use stoat_log_nats::Servers;
///
/// let servers = Servers::parse("nats://me:secret@127.0.0.1:4222").unwrap();
/// assert_eq!(servers.to_string(), "nats://me:********@127.0.0.1:4222");
/// assert!(Servers::parse("http://127.0.0.1").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Servers {
    shown: String,
    /// Without what is secret.
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    Token(String),
    User(String, String),
}

impl Servers {
    /// Reads addresses that are parted by commas.
    ///
    /// # Errors
    /// [`InvalidServers`]; it quotes nothing.
    pub fn parse(text: &str) -> Result<Self, InvalidServers> {
        let mut servers = Self {
            shown: String::new(),
            addresses: Vec::new(),
            login: None,
        };
        for part in text.split(',') {
            servers.add(part.trim()).ok_or(InvalidServers(()))?;
        }
        Ok(servers)
    }

    fn add(&mut self, text: &str) -> Option<()> {
        if text.is_empty() || self.addresses.len() == MOST {
            return None;
        }
        let address: ServerAddr = text.parse().ok()?;
        let mut url = address.into_inner();
        let is_plain = matches!(url.path(), "" | "/") && url.query().is_none();
        if !matches!(url.scheme(), "nats" | "tls") || url.host_str()?.is_empty() || !is_plain {
            return None;
        }
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (token, None) => Some(Login::Token(decoded(token)?)),
            (user, Some(password)) => Some(Login::User(decoded(user)?, decoded(password)?)),
        };
        let mut shown = url.clone();
        match &login {
            Some(Login::Token(_)) => shown.set_username(MASK).ok()?,
            Some(Login::User(..)) => shown.set_password(Some(MASK)).ok()?,
            None => {}
        }
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        if !self.shown.is_empty() {
            self.shown.push(',');
        }
        self.shown.push_str(shown.as_str().trim_end_matches('/'));
        self.addresses.push(ServerAddr::from_url(url).ok()?);
        self.login = self.login.take().or(login);
        Some(())
    }

    pub(crate) fn addresses(&self) -> Vec<ServerAddr> {
        self.addresses.clone()
    }

    pub(crate) fn log_in(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.login {
            Some(Login::Token(token)) => options.token(token.clone()),
            Some(Login::User(user, password)) => {
                options.user_and_password(user.clone(), password.clone())
            }
            None => options,
        }
    }
}

/// Stands for a secret.
const MASK: &str = "********";

/// Resolves `%41` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({})", self.shown)
    }
}

/// The text was no list of addresses of NATS servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidServers(());

impl fmt::Display for InvalidServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("addresses such as nats://host:4222 or tls://host:4222, parted by commas")
    }
}

impl Error for InvalidServers {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_apart() {
        for (text, shown) in [
            ("nats://a:4222", "nats://a:4222"),
            ("a", "nats://a"),
            (
                "nats://t0ken@a:1, tls://b:2",
                "nats://********@a:1,tls://b:2",
            ),
            ("tls://u:hunter2@a:1", "tls://u:********@a:1"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
        ] {
            let servers = Servers::parse(text).unwrap();
            assert_eq!(servers.to_string(), shown);
            let told = format!("{servers:?} {:?}", servers.addresses);
            assert!(
                !told.contains("t0ken") && !told.contains("hunter2"),
                "{told}"
            );
        }
        let servers = Servers::parse("nats://u:a%40b%25@h,nats://x:y@i").unwrap();
        let Some(Login::User(user, password)) = servers.login else {
            panic!("a user");
        };
        assert_eq!((&*user, &*password), ("u", "a@b%"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_quoting_it() {
        for bad in [
            "",
            ",",
            "http://a",
            "ws://a",
            "nats://",
            "nats://a/b",
            "nats://a?x",
            "nats://u:%zz@a",
            "a b",
        ] {
            assert!(Servers::parse(bad).is_err(), "{bad}");
        }
        let error = Servers::parse("http://u:hunter2@a").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
