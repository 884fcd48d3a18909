//! Which dependency may be named where.

use super::tree::Tree;

const HUB: &str = "crates/stoat-ws-hub/src/";
const EVENTS: &str = "crates/stoat-events/src/";

/// Within a folder, a name may occur in the files below these paths only.
const FENCES: &[(&str, &str, &[&str])] = &[
    (HUB, "dashmap", &["registry.rs"]),
    (
        HUB,
        "tungstenite",
        &["handshake.rs", "connection.rs", "connection/"],
    ),
    (EVENTS, "hyper", &[]),
    (EVENTS, "tungstenite", &[]),
    // Of std and of tokio.
    (EVENTS, "net", &[]),
];

/// Names stay behind their fence; comments may speak of them anywhere.
pub(super) fn names(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, code) in tree.rust_code() {
        for (folder, name, allowed) in FENCES {
            let Some(file) = path.strip_prefix(folder) else {
                continue;
            };
            let inside = allowed.iter().any(|place| match place.strip_suffix('/') {
                Some(_) => file.starts_with(place),
                None => file == *place,
            });
            if !inside && has_name(&code, name) {
                violations.push(format!("{path} names {name}; only {allowed:?} may"));
            }
        }
    }
    violations
}

/// The handshake and one more file that speaks the protocol.
pub(super) fn tungstenite_files(tree: &Tree) -> Vec<String> {
    let files: Vec<&str> = tree
        .rust_code()
        .filter(|(path, code)| path.starts_with(HUB) && has_name(code, "tungstenite"))
        .map(|(path, _)| path)
        .filter(|path| *path != format!("{HUB}handshake.rs"))
        .collect();
    if files.len() > 1 {
        vec![format!(
            "beside the handshake, one file may name it, not {files:?}"
        )]
    } else {
        Vec::new()
    }
}

/// Whether a name of a crate, a module or a type is there, also as a part such as in
/// `hyper_tungstenite`.
fn has_name(code: &str, name: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric())
        .any(|part| part.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(file: &str, text: &str) -> Vec<String> {
        names(&Tree::of(&[(&format!("{HUB}{file}"), text)]))
    }

    fn events(text: &str) -> Vec<String> {
        names(&Tree::of(&[(&format!("{EVENTS}log.rs"), text)]))
    }

    #[test]
    fn dashmap_is_named_in_the_registry_only() {
        assert!(hub("registry.rs", "use dashmap::DashMap;").is_empty());
        assert_eq!(hub("lib.rs", "use dashmap::DashMap;").len(), 1);
        assert_eq!(hub("connection/registry.rs", "type A = DashMap;").len(), 1);
        assert!(hub("lib.rs", "//! A DashMap is inside.").is_empty());
    }

    #[test]
    fn tungstenite_is_named_in_handshake_and_connection_only() {
        let text = "use hyper_tungstenite::tungstenite::Error;";
        assert!(hub("handshake.rs", text).is_empty());
        assert!(hub("connection.rs", text).is_empty());
        assert!(hub("connection/protocol.rs", text).is_empty());
        assert_eq!(hub("error.rs", text).len(), 1);
        assert_eq!(hub("connections.rs", text).len(), 1);
    }

    #[test]
    fn tungstenite_is_in_two_files_at_most() {
        let text = "use tungstenite::Message;";
        let all = [
            "handshake.rs",
            "connection/protocol.rs",
            "connection/task.rs",
        ]
        .map(|file| format!("{HUB}{file}"));
        let all = [0, 1, 2].map(|at| (all[at].as_str(), text));
        assert!(tungstenite_files(&Tree::of(&all[..2])).is_empty());
        assert_eq!(tungstenite_files(&Tree::of(&all)).len(), 1);
    }

    #[test]
    fn events_touch_no_socket() {
        for text in [
            "use std::net::IpAddr;",
            "use std::{fmt, net::IpAddr};",
            "use hyper::Request;",
            "use tokio_tungstenite as ws;",
            "use tokio::net::TcpStream;",
        ] {
            assert_eq!(events(text).len(), 1, "{text}");
        }
        assert!(events("use std::fmt; // not hyper").is_empty());
        assert!(events("let network = a.magnet();").is_empty());
    }
}
