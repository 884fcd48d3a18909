//! Whose address counts: the peer's, or the one that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the proxies that are believed.
#[derive(Debug)]
pub(super) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    /// The client behind a request that came from `peer`: read from the right, the first address
    /// that is of no trusted proxy.
    ///
    /// Each proxy adds to the right the address that it saw, so that what a client made up stands
    /// to the left of what is true. Where something is malformed, the proxy that passed it on
    /// counts. The port is 0 where none is named.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = peer;
        if self.0.is_empty() {
            return client;
        }
        let values = headers.get_all(X_FORWARDED_FOR).into_iter();
        let values: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
        let mut hops = values
            .into_iter()
            .rev()
            .flat_map(|value| value.rsplit(|byte| *byte == b','));
        while self.trusts(client.ip()) {
            match hops.next().map(address) {
                Some(Some(hop)) => client = hop,
                _ => break,
            }
        }
        client
    }

    /// Whether the address is of a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(hop: &[u8]) -> Option<SocketAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(hop).parse().ok()?;
    Some((address, 0).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&[u8]]) -> String {
        let networks: Vec<IpNet> = trusted.iter().map(|n| n.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value[..].try_into().unwrap());
        }
        let peer = peer.parse().unwrap();
        Proxies::new(&networks).client(peer, &headers).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_counts() {
        let trusted = &["10.0.0.0/8", "fd00::/8"];
        let proxy = "10.0.0.1:9";
        for (forwarded, expected) in [
            (&[&b"192.0.2.1"[..]][..], "192.0.2.1:0"),
            (&[b"1.1.1.1, 192.0.2.1"], "192.0.2.1:0"),
            (&[b"1.1.1.1, 192.0.2.1 , 10.0.0.2"], "192.0.2.1:0"),
            (
                &[b"1.1.1.1", b"192.0.2.1", b"10.0.0.2,fd00::1"],
                "192.0.2.1:0",
            ),
            (&[b"192.0.2.1:5555"], "192.0.2.1:5555"),
            (&[b"2001:db8::1"], "[2001:db8::1]:0"),
            (&[b"[2001:db8::1]"], "[2001:db8::1]:0"),
            (&[b"[2001:db8::1]:80, [fd00::2]:1"], "[2001:db8::1]:80"),
            (&[b"10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&[], "10.0.0.1:9"),
        ] {
            assert_eq!(client(trusted, proxy, forwarded), expected, "{forwarded:?}");
        }
        let mapped = client(trusted, "[::ffff:10.0.0.1]:9", &[b"192.0.2.1"]);
        assert_eq!(mapped, "192.0.2.1:0");
    }

    proptest! {
        #[test]
        fn whatever_is_forwarded_ends_in_an_address(
            values in proptest::collection::vec("[0-9a-f.:\\[\\],% \t\u{80}-\u{ff}]{0,40}", 0..4),
        ) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            client(&["10.0.0.0/8"], "10.0.0.1:9", &values);
            prop_assert_eq!(client(&["10.0.0.0/8"], "192.0.2.9:9", &values), "192.0.2.9:9");
        }
    }

    #[test]
    fn a_stranger_is_not_believed_and_what_is_malformed_stops_the_search() {
        let stranger = "192.0.2.9:9";
        assert_eq!(client(&["10.0.0.0/8"], stranger, &[b"1.1.1.1"]), stranger);
        assert_eq!(client(&[], stranger, &[b"1.1.1.1"]), stranger);
        let proxy = "10.0.0.1:9";
        for odd in [
            &b""[..],
            b"unknown",
            b"1.1.1.1, ",
            b"1.1.1.1,,",
            b"1.1.1.1, 999.1.1.1",
            b"1.1.1.1, \xff\xfe",
            b"1.1.1.1, fe80::1%eth0",
            b"1.1.1.1, [::1",
            b"1.1.1.1, 2.2.2.2:99999",
            b"1.1.1.1 2.2.2.2",
        ] {
            assert_eq!(client(&["10.0.0.0/8"], proxy, &[odd]), proxy, "{odd:?}");
        }
        let odd_behind_a_proxy = b"1.1.1.1, _hidden, 10.0.0.2";
        let found = client(&["10.0.0.0/8"], proxy, &[odd_behind_a_proxy]);
        assert_eq!(found, "10.0.0.2:0");
    }
}
