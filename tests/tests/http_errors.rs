//! Errors over HTTP: each is a problem document, and each limit holds.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::{Connection, Request, Server};

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let server = Server::start(&[]);

    for path in [
        "/nope",
        "/api/v1/nope",
        "/ws/",
        "/api/v1/events/",
        "/WS",
        "/%00",
        "/../ws",
    ] {
        Request::get(path).send(&server).await.problem(404);
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_answered_with_those_it_has() {
    let server = Server::start(&[]);
    let cases = [
        ("DELETE", "/api/v1/events", &["GET", "POST"][..]),
        ("PUT", "/api/v1/events", &["GET", "POST"]),
        ("POST", "/health/live", &["GET"]),
        ("POST", "/health/ready", &["GET"]),
        ("DELETE", "/metrics", &["GET"]),
        ("POST", "/api/v1/connections", &["GET"]),
        ("GET", "/api/v1/connections/1", &["DELETE"]),
        ("POST", "/api/v1/events/1/delivery", &["GET"]),
    ];

    for (method, path, allowed) in cases {
        let response = Request::new(method, path).send(&server).await;
        response.problem(405);
        let allow = response.header("allow").expect("an Allow header");
        let allow: Vec<&str> = allow.split(',').map(str::trim).collect();
        for method in allowed {
            assert!(allow.contains(method), "{path}: {allow:?}");
        }
        assert!(!allow.contains(&method), "{path}: {allow:?}");
    }
}

#[tokio::test]
async fn a_malformed_query_is_refused() {
    let server = Server::start(&[]);

    for query in [
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=1&limit=2",
        "types=Not%20a%20type",
        "topics=a.*.b",
        "types=a%ff",
    ] {
        let response = Request::get(&format!("/api/v1/events?{query}"))
            .send(&server)
            .await;
        assert_eq!(response.status, 400, "{query}: {}", response.text());
        response.problem(400);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = Server::start(&["--max-body", "10KiB", "--max-event", "10KiB"]);
    let declared = Request::new("POST", "/api/v1/events")
        .header("Content-Type", "application/json")
        .header("Content-Length", "1000000000");

    declared.send(&server).await.problem(413);

    let mut chunked = Connection::open(server.address()).await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        server.address()
    );
    chunked.write(head.as_bytes()).await;
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..3 {
        chunked.write(chunk.as_bytes()).await;
    }
    chunked.response(false).await.problem(413);
    server.publish(r#"{"type":"a"}"#).await;
}

#[tokio::test]
async fn a_body_in_chunks_is_a_body() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let request = Request::new("POST", "/api/v1/events")
        .header("Transfer-Encoding", "chunked")
        .body(
            "application/json",
            "9\r\n{\"type\":\"\r\n3\r\na\"}\r\n0\r\n\r\n",
        );

    assert_eq!(request.send(&server).await.status, 201);

    assert_eq!(client.event().await.event_type, "a");
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let server = Server::start(&["--body-timeout", "1"]);
    let mut connection = Connection::open(server.address()).await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"type\":",
        server.address()
    );

    connection.write(head.as_bytes()).await;

    connection.response(false).await.problem(408);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_in_time() {
    let server = Server::start(&["--body-timeout", "1"]);
    let mut connection = Connection::open(server.address()).await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n",
        server.address()
    );
    connection.write(head.as_bytes()).await;
    let (stream, _) = connection.into_parts();
    let (mut read, mut write) = stream.into_split();

    let trickle = async {
        use tokio::io::AsyncWriteExt;
        for _ in 0..500 {
            if write.write_all(b" ").await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let answer = async {
        use tokio::io::AsyncReadExt;
        let mut start = [0; 12];
        let read = read.read_exact(&mut start).await;
        read.map(|_| String::from_utf8_lossy(&start).into_owned())
    };
    let answer = tokio::select! {
        () = trickle => panic!("no answer while the body trickles"),
        answer = stoat_tests::within("an answer", answer) => answer,
    };

    assert_eq!(answer.expect("an answer"), "HTTP/1.1 408");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_given_up() {
    let server = Server::start(&["--handshake-timeout", "1"]);
    let nothing = Connection::open(server.address()).await;
    let mut half = Connection::open(server.address()).await;
    half.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;

    let (_, said) = tokio::join!(nothing.rest(), half.rest());

    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    server.publish(r#"{"type":"a"}"#).await;
}

#[tokio::test]
async fn garbage_in_place_of_a_request_harms_nothing() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let many_headers = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: x\r\n".repeat(5000)
    );

    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut connection = Connection::open(server.address()).await;
        connection.write(garbage).await;
        let said = connection.rest().await;
        assert!(!said.starts_with(b"HTTP/1.1 2"), "refused");
    }

    server.publish(r#"{"type":"a"}"#).await;
    assert_eq!(client.event().await.event_type, "a");
}
