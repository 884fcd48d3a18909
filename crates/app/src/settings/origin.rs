//! Web origins as browsers send them.

use std::fmt;
use std::net::Ipv6Addr;

/// Most characters of an origin: a host name has at most 253.
const LONGEST: usize = 300;

/// One exact web origin, `scheme://host[:port]`, in the form in which browsers send it in `Origin`:
/// lower case, without the scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin; the error says what is wrong with it.
    ///
    /// # Errors
    /// Anything that is not a scheme, a host and perhaps a port: patterns, paths, user names, `null`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim().to_ascii_lowercase();
        if text.len() > LONGEST {
            return Err("it is too long");
        }
        if text.contains('*') {
            return Err("patterns with `*` are not supported: list each origin");
        }
        if !text.is_ascii() {
            return Err("a host name outside ASCII goes in its `xn--` form");
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no `scheme://`")?;
        if !is_scheme(scheme) {
            return Err("its scheme is malformed");
        }
        if rest.contains(['/', '?', '#']) {
            return Err("an origin has no path, and no `/` at its end");
        }
        if rest.contains('@') {
            return Err("an origin has no user name");
        }
        let (host, port) = split_port(rest)?;
        let host = host_name(host)?;
        match (scheme, port) {
            (_, None) | ("http" | "ws", Some(80)) | ("https" | "wss", Some(443)) => {
                Ok(Self(format!("{scheme}://{host}")))
            }
            (_, Some(port)) => Ok(Self(format!("{scheme}://{host}:{port}"))),
        }
    }

    /// The origin as it stands in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Parts the host from the port; the colons inside brackets belong to the host.
fn split_port(rest: &str) -> Result<(&str, Option<u16>), &'static str> {
    let end = rest.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = rest[end..].find(':').map(|colon| end + colon) else {
        return Ok((rest, None));
    };
    let digits = &rest[colon + 1..];
    match digits.parse::<u16>() {
        Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((&rest[..colon], Some(port)))
        }
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn host_name(host: &str) -> Result<String, &'static str> {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("its IPv6 address is malformed"),
        };
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(fits) || host.starts_with('.') {
        return Err("its host is malformed");
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_exact_origins() {
        for (text, origin) in [
            ("https://app.example", "https://app.example"),
            (" HTTPS://App.Example:8443 ", "https://app.example:8443"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), Ok(origin));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "*",
            "null",
            "https://*.example",
            "app.example",
            "https://",
            "https:///",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a:0",
            "https://a:",
            "https://a:99999",
            "https://a:+1",
            "https://a b",
            "https://.a",
            "1https://a",
            "://a",
            "https://[::1",
            "https://[x]",
            "https://ä",
            "https://a:1:2",
            "https://[::1]x",
        ] {
            assert!(Origin::parse(text).is_err(), "{text:?}");
        }
        assert!(Origin::parse(&format!("https://{}", "a".repeat(400))).is_err());
    }

    proptest! {
        #[test]
        fn an_origin_reads_back(text in "\\PC{0,40}", near in "[a-z]{1,3}://[a-z0-9.:\\[\\]]{0,20}") {
            for text in [text, near] {
                if let Ok(origin) = Origin::parse(&text) {
                    prop_assert_eq!(Origin::parse(origin.as_str()), Ok(origin));
                }
            }
        }
    }
}
