//! `stoat tail`: what it prints, and where it goes on after each way to lose a connection.

use std::borrow::Cow;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;

type Socket = WebSocketStream<TcpStream>;

fn event(event_type: &str, id: &str) -> String {
    format!(
        r#"{{"type":"{event_type}","payload":{{"n":1.10e400,"ä":"\u00e4"}},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"{id}"}}"#
    )
}

/// Accepts the next connection; gives the path and query that it asks for.
async fn accept(listener: &TcpListener, cursor: Option<&str>) -> (Socket, String) {
    let (stream, _) = in_time(listener.accept()).await.unwrap();
    let mut target = String::new();
    #[expect(
        clippy::result_large_err,
        reason = "the signature is that of the library"
    )]
    let callback = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        target = request.uri().to_string();
        if let Some(cursor) = cursor {
            response
                .headers_mut()
                .insert("x-stoat-cursor", cursor.parse().unwrap());
        }
        Ok(response)
    };
    let socket = in_time(accept_hdr_async(stream, callback)).await.unwrap();
    (socket, target)
}

/// Answers the next connection in plain HTTP.
async fn answer(listener: &TcpListener, head: &str, body: &str) {
    let (mut stream, _) = in_time(listener.accept()).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(in_time(stream.read_u8()).await.unwrap());
    }
    let length = body.len();
    let text = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    // The body in a packet of its own.
    stream.flush().await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}

async fn send(socket: &mut Socket, text: &str) {
    in_time(socket.send(Message::text(text))).await.unwrap();
}

#[tokio::test]
async fn goes_on_behind_the_last_event_without_loss_or_repeat() {
    let (listener, url) = listen().await;
    let stoat = Stoat::start(&[
        "tail",
        &url,
        "--types=a,b",
        "--topics",
        "x.*",
        "--count",
        "5",
    ]);
    let events: Vec<String> = (1..=5).map(|n| event("a", &format!("e-{n}"))).collect();

    let (mut socket, target) = accept(&listener, None).await;
    assert_eq!(target, "/ws?types=a,b&topics=x.%2A");
    send(&mut socket, &events[0]).await;
    send(&mut socket, &events[1]).await;
    drop(socket);

    let (mut socket, target) = accept(&listener, None).await;
    assert_eq!(target, "/ws?types=a,b&topics=x.%2A&last_event_id=e-2");
    send(&mut socket, &events[2]).await;
    // Cut off within a frame.
    let half = b"\x81\x7e\x01\x00{\"type\":\"a\",";
    socket.get_mut().write_all(half).await.unwrap();
    drop(socket);

    let (mut socket, target) = accept(&listener, None).await;
    assert_eq!(target, "/ws?types=a,b&topics=x.%2A&last_event_id=e-3");
    for event in &events[3..] {
        send(&mut socket, event).await;
    }
    let last = in_time(socket.next()).await;
    assert!(matches!(last, Some(Ok(Message::Close(_)))), "{last:?}");

    let ended = stoat.end().await;
    ended.assert_code(0);
    assert_eq!(ended.stdout, events);
    assert_eq!(ended.stderr.matches("connection lost").count(), 2);
    assert_eq!(ended.stderr.matches("connected again").count(), 2);
}

#[tokio::test]
async fn heartbeats_and_gaps_move_the_position() {
    let (listener, url) = listen().await;
    let mut stoat = Stoat::start(&["tail", &url, "--since", "e-1", "--count=2"]);
    let (mut socket, target) = accept(&listener, Some("e-7")).await;
    assert_eq!(target, "/ws?last_event_id=e-1");
    drop(socket);

    let (next, target) = accept(&listener, Some("e-7")).await;
    socket = next;
    assert_eq!(target, "/ws?last_event_id=e-1");
    send(&mut socket, &event("gap", "e-4")).await;
    assert_eq!(stoat.line().await, Some(event("gap", "e-4")));
    drop(socket);

    let (next, target) = accept(&listener, None).await;
    socket = next;
    assert_eq!(target, "/ws?last_event_id=e-4");
    send(&mut socket, &event("heartbeat", "e-9")).await;
    send(&mut socket, r#"{"action":"pong"}"#).await;
    drop(socket);

    let (mut socket, target) = accept(&listener, None).await;
    assert_eq!(target, "/ws?last_event_id=e-9");
    send(&mut socket, &event("b", "e-10")).await;
    let ended = stoat.end().await;
    ended.assert_code(0);
    assert_eq!(ended.stdout, [event("b", "e-10")]);
}

#[tokio::test]
async fn a_live_connection_that_is_cut_before_any_event_misses_nothing() {
    for (cursor, expected) in [
        (Some("e-5"), "/ws?last_event_id=e-5"),
        (None, "/ws?last_event_id=earliest"),
    ] {
        let (listener, url) = listen().await;
        let stoat = Stoat::start(&["tail", &url, "--count=1"]);
        let (socket, target) = accept(&listener, cursor).await;
        assert_eq!(target, "/ws");
        drop(socket);
        // What the cursor is by now does not matter.
        let (socket, target) = accept(&listener, Some("e-8")).await;
        assert_eq!(target, expected);
        drop(socket);
        let (mut socket, target) = accept(&listener, Some("e-9")).await;
        assert_eq!(target, expected);
        send(&mut socket, &event("a", "e-6")).await;
        stoat.end().await.assert_code(0);
    }
}

#[tokio::test]
async fn returns_when_the_server_says() {
    let (listener, url) = listen().await;
    let stoat = Stoat::start(&["tail", &url, "--count=1"]);
    let (mut socket, _) = accept(&listener, None).await;
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "retry_ms=700".into(),
    };
    let closed = Instant::now();
    in_time(socket.close(Some(frame))).await.unwrap();
    let answer = in_time(socket.next()).await;
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    let (mut socket, _) = accept(&listener, None).await;
    assert!(closed.elapsed() >= Duration::from_millis(700));
    send(&mut socket, &event("a", "e-1")).await;
    let ended = stoat.end().await;
    ended.assert_code(0);
    assert!(ended.stderr.contains("1001 (retry_ms=700)"), "{ended:?}");
}

#[tokio::test]
async fn a_busy_server_is_tried_again_and_a_refusal_is_final() {
    let (listener, url) = listen().await;
    let stoat = Stoat::start(&["tail", &url]);
    answer(
        &listener,
        "503 Service Unavailable\r\nRetry-After: 0",
        r#"{"title":"Service Unavailable","detail":"draining"}"#,
    )
    .await;
    answer(&listener, "429 Too Many Requests", "").await;
    let (socket, _) = accept(&listener, None).await;
    drop(socket);
    // While it is known to exist, its absence and a proxy's excuse are waited out.
    drop(in_time(listener.accept()).await.unwrap());
    answer(&listener, "502 Bad Gateway", "<html>").await;
    answer(
        &listener,
        "401 Unauthorized\r\nContent-Type: application/problem+json",
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"a token is needed"}"#,
    )
    .await;
    let ended = stoat.end().await;
    ended.assert_code(1);
    assert!(ended.stdout.is_empty(), "{ended:?}");
    let last = ended.stderr.lines().last().map(Cow::Borrowed);
    assert_eq!(
        last.unwrap_or_default(),
        format!("stoat: {url} refused the connection: 401 Unauthorized: a token is needed")
    );
    assert!(ended.stderr.contains("draining"), "{ended:?}");
}

#[tokio::test]
async fn a_first_connection_that_fails_is_told() {
    let url = nowhere().await;
    let ended = Stoat::start(&["tail", &url]).end().await;
    ended.assert_code(1);
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(
        ended
            .stderr
            .starts_with(&format!("stoat: cannot reach the server at {url}: "))
            && ended.stderr.contains("stoat serve"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[tokio::test]
async fn what_is_no_websocket_server_is_refused() {
    let (listener, url) = listen().await;
    let stoat = Stoat::start(&["tail", &url]);
    answer(
        &listener,
        "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x",
        "",
    )
    .await;
    let ended = stoat.end().await;
    ended.assert_code(1);
    assert!(
        ended.stderr.contains("not that of a WebSocket server"),
        "{ended:?}"
    );
}

/// Lets the reader of its output go away after an event; whatever `then` does, it ends silently.
async fn ends_without_a_reader(then: impl AsyncFnOnce(&mut Socket)) {
    let (listener, url) = listen().await;
    let mut stoat = Stoat::start(&["tail", &url]);
    let (mut socket, _) = accept(&listener, None).await;
    send(&mut socket, &event("a", "e-1")).await;
    assert!(stoat.line().await.is_some());
    drop(stoat.stdout.take());
    then(&mut socket).await;
    let ended = stoat.end().await;
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_it_silently() {
    ends_without_a_reader(async |socket| send(socket, &event("a", "e-2")).await).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_goes_away_ends_it_without_another_event() {
    ends_without_a_reader(async |_| ()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn signals_end_it_with_0() {
    for signal in ["-INT", "-TERM"] {
        let (listener, url) = listen().await;
        let mut stoat = Stoat::start(&["tail", &url]);
        let (mut socket, _) = accept(&listener, None).await;
        send(&mut socket, &event("a", "e-1")).await;
        assert!(stoat.line().await.is_some());
        let id = stoat.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
        let ended = stoat.end().await;
        ended.assert_code(0);
        assert_eq!(ended.stderr, "");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_it_even_when_nobody_reads() {
    let (listener, url) = listen().await;
    let mut stoat = Stoat::start(&["tail", &url]);
    let (mut socket, _) = accept(&listener, None).await;
    // Far more than a pipe holds.
    let long = format!(
        r#"{{"type":"a","payload":{{"x":"{}"}},"event_id":"e-1"}}"#,
        "x".repeat(4 << 20)
    );
    send(&mut socket, &long).await;
    let stdout = stoat.stdout.as_mut().unwrap().get_mut();
    assert!(!in_time(stdout.fill_buf()).await.unwrap().is_empty());
    let id = stoat.child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(sent.unwrap().success());
    let status = in_time(stoat.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}
