//! Each check of the handshake by itself.

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A good handshake, changed by `change`.
fn answer(change: impl FnOnce(&mut Request<()>)) -> Result<Response<()>, HandshakeError> {
    let mut request = Request::get("/ws")
        .header("host", "hub.example.com:8765")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "WebSocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .body(())
        .unwrap();
    change(&mut request);
    upgrade(&mut request, &["https://app.example.com".to_owned()]).map(|(response, _)| response)
}

fn status(change: impl FnOnce(&mut Request<()>)) -> u16 {
    status_of(answer(change))
}

fn status_of(answer: Result<Response<()>, HandshakeError>) -> u16 {
    answer
        .map_or_else(|error| error.status(), |response| response.status())
        .as_u16()
}

fn with(name: &'static str, value: &'static str) -> impl FnOnce(&mut Request<()>) {
    move |request| {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}

fn twice(name: &'static str, value: &'static str) -> impl FnOnce(&mut Request<()>) {
    move |request| {
        request
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
}

fn without(name: &'static str) -> impl FnOnce(&mut Request<()>) {
    move |request| {
        request.headers_mut().remove(name);
    }
}

#[test]
fn a_good_one_gets_its_101() {
    let response = answer(|_| {}).unwrap();
    assert_eq!(response.status(), 101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
}

#[test]
fn not_an_upgrade_is_426() {
    for change in [without("upgrade"), without("connection")] {
        assert_eq!(answer(change).unwrap_err().header().unwrap().0, "upgrade");
    }
    let refused = answer(without("upgrade")).unwrap_err();
    assert_eq!(refused.to_response().headers()["connection"], "upgrade");
    for change in [with("upgrade", "h2c"), with("connection", "close")] {
        assert_eq!(status(change), 426);
    }
}

#[test]
fn other_versions_are_426() {
    for refused in [
        answer(with("sec-websocket-version", "8")),
        answer(twice("sec-websocket-version", "13")),
    ] {
        let header = refused.unwrap_err().header().unwrap();
        assert_eq!(
            (header.0.as_str(), header.1.as_bytes()),
            ("sec-websocket-version", &b"13"[..])
        );
    }
    assert_eq!(status(without("sec-websocket-version")), 426);
}

#[test]
fn malformed_ones_are_400() {
    assert_eq!(status(|request| *request.method_mut() = Method::POST), 400);
    assert_eq!(
        status(|request| *request.version_mut() = Version::HTTP_10),
        400
    );
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "!!!!IHNhbXBsZSBub25jZQ==",
    ] {
        assert_eq!(status(with("sec-websocket-key", key)), 400, "{key}");
    }
    assert_eq!(status(without("sec-websocket-key")), 400);
    assert_eq!(status(twice("sec-websocket-key", KEY)), 400);
    assert_eq!(status(without("host")), 400);
    assert_eq!(status(twice("host", "other")), 400);
    assert_eq!(status(with("content-length", "5")), 400);
    assert_eq!(status(with("transfer-encoding", "chunked")), 400);
    assert_eq!(status(with("content-length", "0")), 101);
}

#[test]
fn another_method_without_upgrade_headers_is_405() {
    let mut request = Request::post("/ws").body(()).unwrap();
    let error = upgrade(&mut request, &[]).err().unwrap();
    assert_eq!(
        (error.status().as_u16(), error.header().unwrap().0.as_str()),
        (405, "allow")
    );
}

#[test]
fn origins() {
    for origin in [
        "https://app.example.com",
        "http://hub.example.com:8765",
        "HTTPS://HUB.example.com:8765",
    ] {
        assert_eq!(status(with("origin", origin)), 101, "{origin}");
    }
    for origin in [
        "null",
        "",
        "https://evil.example.com",
        "https://app.example.com.evil.com",
        "https://app.example.com:444",
        "http://hub.example.com",
        "http://hub.example.com:8766",
        "http://hub.example.com:8765.evil.com",
        "ftp://hub.example.com:8765",
        "hub.example.com:8765",
    ] {
        assert_eq!(status(with("origin", origin)), 403, "{origin}");
    }
    assert_eq!(
        status(|request| {
            with("origin", "https://app.example.com")(request);
            twice("origin", "https://app.example.com")(request);
        }),
        403
    );
}

#[test]
fn default_ports_are_the_same_origin() {
    let same = |origin: &str, host: &str| is_same_host(origin, host);
    assert!(same("http://a.com", "a.com:80") && same("https://a.com:443", "a.com"));
    assert!(same("http://[::1]:8765", "[::1]:8765") && same("http://[::1]", "[::1]"));
    assert!(!same("https://a.com", "a.com:80") && !same("http://", "") && !same("http://a", "b"));
}

#[test]
fn the_subprotocol_is_answered_only_where_offered() {
    let response = answer(with("sec-websocket-protocol", "other, stoat.v1")).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "stoat.v1");
    let response = answer(with("sec-websocket-protocol", "other, stoat.v10")).unwrap();
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
}

#[cfg(feature = "http2")]
mod http2 {
    use hyper::ext::Protocol;

    use super::*;

    /// A good extended CONNECT, changed by `change`.
    fn answer(change: impl FnOnce(&mut Request<()>)) -> Result<Response<()>, HandshakeError> {
        let mut request = Request::connect("https://hub.example.com/ws")
            .version(Version::HTTP_2)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        change(&mut request);
        upgrade(&mut request, &["https://app.example.com".to_owned()]).map(|(response, _)| response)
    }

    fn status(change: impl FnOnce(&mut Request<()>)) -> u16 {
        status_of(answer(change))
    }

    #[test]
    fn a_good_one_gets_its_200() {
        let response = answer(with("sec-websocket-protocol", "x, stoat.v1")).unwrap();
        assert_eq!(response.status(), 200);
        let headers: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(headers, ["sec-websocket-protocol"]);
    }

    #[test]
    fn the_same_is_checked() {
        assert_eq!(status(without("sec-websocket-version")), 426);
        assert_eq!(status(with("sec-websocket-version", "8")), 426);
        assert_eq!(status(with("content-length", "1")), 400);
        for (origin, expected) in [
            ("https://app.example.com", 200),
            ("https://hub.example.com", 200),
            ("https://hub.example.com:8443", 403),
            ("https://evil.example", 403),
        ] {
            assert_eq!(status(with("origin", origin)), expected, "{origin}");
        }
    }

    #[test]
    fn other_methods_and_protocols() {
        assert_eq!(status(|request| *request.method_mut() = Method::GET), 426);
        assert_eq!(status(|request| *request.method_mut() = Method::POST), 405);
        assert_eq!(
            status(|request| {
                request
                    .extensions_mut()
                    .insert(Protocol::from_static("connect-udp"));
            }),
            400
        );
        let plain = |request: &mut Request<()>| {
            request.extensions_mut().clear();
        };
        assert_eq!(status(plain), 400);
    }
}
