//! The address of a server, as `tail` and `publish` take it.

use std::fmt;

use http::Uri;

/// Longest address that is read.
const LONGEST: usize = 2000;

/// Where a stoat server is found: a host, a port, and the path it is mounted under. Also the token
/// that it is asked with, if any, which is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    tls: bool,
    host: String,
    port: u16,
    base: String,
    token: Option<Token>,
}

/// Longest token that is taken.
const LONGEST_TOKEN: usize = 8192;

#[derive(Clone, PartialEq, Eq)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl ServerUrl {
    /// Reads `http://HOST[:PORT][/BASE]` or the same with `https://`, `ws://` or `wss://`; `/ws` at
    /// the end is left out.
    ///
    /// # Errors
    /// What is wrong with the address, without repeating it: it may hold a token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected an address such as http://127.0.0.1:8765";
        if text.len() > LONGEST {
            return Err(format!("the address is too long; {expected}"));
        }
        // `Uri` drops a fragment without a word.
        if text.contains(['?', '#']) {
            return Err("the address of the server has no `?` and no `#`".to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| expected.to_owned())?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(expected.to_owned()),
        };
        let authority = uri.authority().ok_or(expected)?.as_str();
        if authority.contains('@') {
            return Err("the address of the server has no user name".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let port = match authority.strip_prefix(host).unwrap_or_default() {
            "" => Some(usual_port(tls)),
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()),
        };
        let port = port
            .filter(|port| *port != 0)
            .ok_or("the port is not a number from 1 to 65535")?;
        if host.trim_matches(['[', ']']).is_empty() {
            return Err(expected.to_owned());
        }
        let base = uri.path().trim_end_matches('/');
        let base = base.strip_suffix("/ws").unwrap_or(base);
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            base: base.to_owned(),
            token: None,
        })
    }

    /// The same server, asked with a token.
    ///
    /// # Errors
    /// It is empty, too long, or has other than visible ASCII characters; the error does not
    /// repeat it.
    pub fn with_token(mut self, token: &str) -> Result<Self, String> {
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || token.len() > LONGEST_TOKEN || !visible {
            return Err(format!(
                "expected 1 to {LONGEST_TOKEN} visible ASCII characters"
            ));
        }
        self.token = Some(Token(token.to_owned()));
        Ok(self)
    }

    /// The value of `Authorization`.
    pub fn authorization(&self) -> Option<String> {
        let Token(token) = self.token.as_ref()?;
        Some(format!("Bearer {token}"))
    }

    /// The host to connect to: a name or an IP address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The text of the `Host` header.
    pub fn authority(&self) -> String {
        if self.port == usual_port(self.tls) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The path of a route (which begins with `/`) on this server.
    pub fn path(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)
    }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_addresses() {
        for (text, shown, host, port, path) in [
            (
                "http://127.0.0.1:8765",
                "http://127.0.0.1:8765",
                "127.0.0.1",
                8765,
                "/ws",
            ),
            (
                "ws://a.example/ws",
                "http://a.example",
                "a.example",
                80,
                "/ws",
            ),
            (
                "HTTP://a.example:81/hub/",
                "http://a.example:81/hub",
                "a.example",
                81,
                "/hub/ws",
            ),
            (
                "wss://a.example/ws",
                "https://a.example",
                "a.example",
                443,
                "/ws",
            ),
            (
                "https://a.example:80",
                "https://a.example:80",
                "a.example",
                80,
                "/ws",
            ),
            (
                "ws://[::1]:9/hub/ws/",
                "http://[::1]:9/hub",
                "::1",
                9,
                "/hub/ws",
            ),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(
                (url.host(), url.port(), url.path("/ws").as_str()),
                (host, port, path)
            );
            assert_eq!(ServerUrl::parse(shown), Ok(url));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "127.0.0.1:8765",
            "/ws",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://a:x",
            "http://u:p@a",
            "http://a/?token=x",
            "http://a#b",
            "ftp://a",
            "http://a b",
            "http://[]",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
        assert!(ServerUrl::parse(&format!("http://{}", "a".repeat(3000))).is_err());
    }

    proptest! {
        #[test]
        fn no_address_panics(text in "\\PC{0,40}", near in "(http|ws)://[a-z0-9.:\\[\\]@/-]{0,20}") {
            for text in [text, near] {
                if let Ok(url) = ServerUrl::parse(&text) {
                    prop_assert_eq!(ServerUrl::parse(&url.to_string()), Ok(url));
                }
            }
        }
    }
}
