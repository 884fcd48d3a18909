//! The edge of the server: what is late, malformed, too much, or not taken.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::{Connection, Raw, Request, Response, Server, Setup, eventually, within};
use tokio::net::{TcpSocket, TcpStream};

/// Checks an answer that the server gives without a request, and that the connection ends.
async fn refused(mut connection: Connection, status: u16) {
    let response = connection.response(false).await;
    check_refusal(&response, status);
    assert_eq!(connection.rest().await, b"", "nothing follows");
}

fn check_refusal(response: &Response, status: u16) {
    response.problem(status);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(
        response
            .header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    let id = response.header("x-correlation-id").expect("an ID");
    assert_eq!(response.json()["correlation_id"], id);
}

async fn sent(server: &Server, bytes: &[u8]) -> Connection {
    let mut connection = Connection::open(server.address()).await;
    connection.write(bytes).await;
    connection
}

#[tokio::test]
async fn a_late_head_is_told_so() {
    let server = Server::start(&["--handshake-timeout", "500ms"]);
    for head in [
        "",
        "G",
        "PRI * HTTP",
        "GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    ] {
        refused(sent(&server, head.as_bytes()).await, 408).await;
    }
    // Every byte comes in time, the head does not.
    let trickling = sent(&server, b"GET / HTTP/1.1\r\nX: ").await;
    let (stream, _) = trickling.into_parts();
    let (mut read, mut write) = stream.into_split();
    let trickle = async {
        use tokio::io::AsyncWriteExt;
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await
    };
    let answer = async {
        use tokio::io::AsyncReadExt;
        let mut start = [0; 12];
        read.read_exact(&mut start).await.expect("an answer");
        start
    };
    tokio::select! {
        () = trickle => {}
        start = within("an answer", answer) => assert_eq!(&start, b"HTTP/1.1 408"),
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_no_more_ends_without_a_word() {
    let server = Server::start(&["--handshake-timeout", "2s"]);
    let mut connection = Connection::open(server.address()).await;
    for _ in 0..2 {
        let response = connection.send(&Request::get("/health/live")).await;
        assert_eq!(response.status, 200);
    }
    assert_eq!(connection.rest().await, b"");

    let mut connection = Connection::open(server.address()).await;
    connection.send(&Request::get("/health/live")).await;
    connection.write(b"GET / HT").await;
    refused(connection, 408).await;
}

#[tokio::test]
async fn what_is_no_request_gets_a_problem_document() {
    let server = Server::start(&[]);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(17 << 10)
    );
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(1 << 20));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: x\r\n".repeat(200)
    );
    let cases = [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("\0\0\0\0\r\n\r\n", 400),
        ("GET / HTTP/3.1\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}", 400),
        (long.as_str(), 431),
        (endless.as_str(), 431),
        (many.as_str(), 431),
    ];
    for (bytes, status) in cases {
        refused(sent(&server, bytes.as_bytes()).await, status).await;
    }
    let requests = server.metrics().await;
    for (status, count) in [("400", 5.0), ("431", 3.0)] {
        let labels = [("method", "other"), ("route", "other"), ("status", status)];
        assert_eq!(requests.value("http_requests_total", &labels), Some(count));
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start(&[]);
    let cases = [
        ("GET /health/live HTTP/1.1\r\nHost: a\r\n", 200),
        ("GET /health/live HTTP/1.1\r\nHost:\r\n", 200),
        ("GET /health/live HTTP/1.0\r\n", 200),
        ("GET /health/live HTTP/1.1\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("GET /health/live HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET http://a/metrics HTTP/1.1\r\n", 400),
    ];
    for (head, status) in cases {
        let head = format!("{head}\r\n");
        let response = sent(&server, head.as_bytes()).await.response(false).await;
        assert_eq!(response.status, status, "{head}");
        if status == 400 {
            response.problem(400);
        }
    }
}

#[tokio::test]
async fn garbage_behind_a_request_does_not_cost_its_answer() {
    let server = Server::start(&[]);
    let live = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = live.replace("GET", "HEAD");
    let publish = "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
        Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"type\":\"a\"}";
    let bytes = [live, &head, publish, live, "garbage\r\n\r\n"].concat();
    let mut connection = sent(&server, bytes.as_bytes()).await;
    assert_eq!(connection.response(false).await.status, 200);
    assert_eq!(connection.response(true).await.status, 200);
    let mut published = connection.response(false).await;
    if published.status == 100 {
        published = connection.response(false).await;
    }
    assert_eq!(published.status, 201);
    assert_eq!(connection.response(false).await.status, 200);
    refused(connection, 400).await;
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_answered_in_order_and_may_end_in_a_websocket() {
    let server = Server::start(&[]);
    let body = |n| format!(r#"{{"type":"a","payload":{{"n":{n}}}}}"#);
    let publish = |n| {
        let body = body(n);
        format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: ahead-{n}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let asked: String = (0..200).map(publish).collect();
    let asked = asked + &Raw::handshake(&server, "/ws?last_event_id=earliest", "");
    let mut connection = sent(&server, asked.as_bytes()).await;
    let mut ids = Vec::new();
    for n in 0..200 {
        let published = connection.response(false).await;
        assert_eq!(published.status, 201, "{published:?}");
        let answer = published.json();
        assert_eq!(answer["correlation_id"], format!("ahead-{n}"));
        ids.push(answer["event_id"].clone());
    }
    let (raw, answer) = Raw::upgrade(connection, "").await;
    let mut raw = raw.unwrap_or_else(|| panic!("an upgrade, not {answer:?}"));
    let mut events = Vec::new();
    while events.len() < 200 {
        let frame = raw.frame().await.expect("an event");
        let event: serde_json::Value = serde_json::from_str(frame.text()).expect("an event");
        if event["type"] == "a" {
            events.push(event["event_id"].clone());
        }
    }
    assert_eq!(events, ids);
}

#[tokio::test]
async fn a_head_that_breaks_off_is_malformed() {
    let server = Server::start(&[]);
    let mut connection = sent(&server, b"GET / HTTP/1.1\r\nHost").await;
    connection.finish().await;
    refused(connection, 400).await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up() {
    let server = Server::start(&["--ws-write-timeout", "500ms"]);
    // Later, one of the connections that publish may still be counted.
    let before = open_files(&server).await;
    let filler = "x".repeat(60_000);
    for _ in 0..100 {
        server
            .publish(&format!(r#"{{"type":"a","payload":{{"x":"{filler}"}}}}"#))
            .await;
    }
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = within("a connection", socket.connect(server.address())).await;
    let mut stream = stream.expect("the server accepts");
    let page = format!(
        "GET /api/v1/events?limit=1000 HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address()
    );
    let written = tokio::io::AsyncWriteExt::write_all(&mut stream, page.as_bytes());
    within("a request", written).await.expect("an open socket");
    // The answer has begun; nothing of it is taken.
    let begun = within("an answer", stream.peek(&mut [0])).await;
    assert_eq!(begun.expect("an open socket"), 1);
    let connection = Connection::over(stream);

    eventually("the server drops it", async || {
        (open_files(&server).await <= before).then_some(())
    })
    .await;
    assert!(
        connection.rest().await.len() < 4_000_000,
        "the rest is not sent"
    );
}

#[tokio::test]
async fn bodies_that_do_not_end_share_a_bounded_memory() {
    let server = Server::start(&["--body-timeout", "1h"]);
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1048576\r\n\r\n",
        server.address()
    );
    let part = [head.as_bytes(), &[b' '; 1_000_000]].concat();
    let begun = (0..40).map(|_| async {
        let mut connection = Connection::open(server.address()).await;
        connection.write(&part).await;
        connection
    });
    let mut held = futures_util::future::join_all(begun).await;
    // Small ones are not affected, nor those of others; large ones are told to come back.
    server.publish(r#"{"type":"a"}"#).await;
    let answers = held.iter_mut().map(|one| Box::pin(one.response(false)));
    let (response, ..) = futures_util::future::select_all(answers).await;
    response.problem(503);
    assert_eq!(response.header("retry-after"), Some("5"));
    let large = format!(
        r#"{{"type":"a","payload":{{"x":"{}"}}}}"#,
        "x".repeat(60_000)
    );
    let mut other = connect_from([127, 0, 0, 2], &server).await;
    let response = other.send(&Request::publish(large.as_str())).await;
    assert_eq!(response.status, 201);
    drop(held);
    eventually("room for a large one", async || {
        let response = Request::publish(large.as_str()).send(&server).await;
        (response.status == 201).then_some(())
    })
    .await;
}

async fn open_files(server: &Server) -> f64 {
    let metrics = server.metrics().await;
    metrics.value("process_open_fds", &[]).expect("a gauge")
}

async fn connect_from(source: [u8; 4], server: &Server) -> Connection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("a loopback address");
    let stream = within("a connection", socket.connect(server.address())).await;
    Connection::over(stream.expect("the server accepts"))
}

#[tokio::test]
async fn one_address_gets_its_share_of_connections() {
    let server = Server::start(&["--max-connections-per-ip", "2", "--handshake-timeout", "1h"]);
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(Connection::open(server.address()).await);
    }
    let mut over = Connection::open(server.address()).await;
    let response = over.response(false).await;
    check_refusal(&response, 429);
    assert_eq!(response.header("retry-after"), Some("1"));

    let mut other = connect_from([127, 0, 0, 2], &server).await;
    assert_eq!(other.send(&Request::get("/health/live")).await.status, 200);
    held.pop();
    eventually("a place is free again", async || {
        let mut again = Connection::open(server.address()).await;
        let response = again.try_send(&Request::get("/health/live")).await?;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_together_have_a_bound_that_leaves_room_for_the_operator() {
    let server = Server::start(&["--max-connections", "1", "--handshake-timeout", "1h"]);
    let client = server.client().await;
    assert_eq!(Request::get("/health/live").send(&server).await.status, 200);
    let mut held = Vec::new();
    let refusal = loop {
        let stream = within("a connection", TcpStream::connect(server.address())).await;
        held.push(stream.expect("the server accepts"));
        assert!(held.len() < 2000, "there is a bound");
        if held.len() > 1024 {
            let stream = held.pop().expect("a connection");
            break Connection::over(stream).response(false).await;
        }
    };
    check_refusal(&refusal, 503);
    drop((held, client));
}

#[tokio::test]
async fn a_server_without_file_descriptors_recovers() {
    let server = Setup::default()
        .args(["--handshake-timeout", "1h"])
        .most_files(60)
        .start();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(Connection::open(server.address()).await);
    }
    let said = |text: &str| server.log().matches(text).count();
    eventually("it says so", async || {
        (said("cannot accept") > 0).then_some(())
    })
    .await;
    drop(held);
    eventually("it says that it is over", async || {
        assert_eq!(Request::get("/health/live").send(&server).await.status, 200);
        (said("accepted again") > 0).then_some(())
    })
    .await;
    assert_eq!((said("cannot accept"), said("accepted again")), (1, 1));
}
