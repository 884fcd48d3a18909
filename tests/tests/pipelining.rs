//! Requests that are sent ahead, where the connection ends before all of them are read.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::{Server, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection of a client that takes little at once.
async fn narrow(server: &Server) -> (OwnedReadHalf, OwnedWriteHalf) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    let stream = within("a connection", socket.connect(server.address())).await;
    stream.expect("the server accepts").into_split()
}

fn publish(headers: &str) -> String {
    let body = r#"{"type":"a"}"#;
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn send(mut stream: OwnedWriteHalf, requests: String) -> OwnedWriteHalf {
    let sent = within("requests", stream.write_all(requests.as_bytes())).await;
    sent.expect("the server reads on");
    stream
}

/// How many publishes were accepted, of all answers until the end.
async fn accepted(mut stream: OwnedReadHalf) -> usize {
    let mut said = String::new();
    let read = within("the end", stream.read_to_string(&mut said)).await;
    read.expect("an end, and no reset");
    said.matches("HTTP/1.1 201 ").count()
}

#[tokio::test]
async fn what_lies_behind_the_last_answer_does_not_take_the_others_away() {
    let server = Server::start(&[]);
    let (read, write) = narrow(&server).await;
    let asked = [
        publish("").repeat(99),
        publish("Connection: close\r\n"),
        publish("").repeat(5_000),
    ];
    let _write = send(write, asked.concat()).await;
    let published = async || server.metrics().await.sum("stoat_events_published_total");
    eventually("the last answer", async || {
        (published().await >= 100.0).then_some(())
    })
    .await;
    assert_eq!(accepted(read).await, 100);
    assert_eq!(published().await, 100.0);
}

#[tokio::test]
async fn what_lies_behind_the_only_answer_does_not_cut_it_off() {
    let server = Server::start(&[]);
    let (mut read, write) = narrow(&server).await;
    let page = "GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let _write = send(write, page.to_owned() + &publish("").repeat(5_000)).await;
    eventually("the answer", async || {
        let labels = [
            ("method", "GET"),
            ("route", "/openapi.json"),
            ("status", "200"),
        ];
        let metrics = server.metrics().await;
        metrics.value("http_requests_total", &labels)
    })
    .await;
    let mut said = String::new();
    let ended = within("the end", read.read_to_string(&mut said)).await;
    ended.expect("an end, and no reset");
    let (_, page) = said.split_once("\r\n\r\n").expect("an answer");
    serde_json::from_str::<serde_json::Value>(page).expect("all of it");
}

#[tokio::test]
async fn what_was_accepted_is_answered_though_the_server_ends() {
    let mut server = Server::start(&["--drain-timeout", "60s"]);
    let mut client = server.client().await;
    let (read, write) = narrow(&server).await;
    let drain = async {
        client.event().await;
        server.terminate();
        client.closed().await.0
    };
    // More than the kernel takes answers for, of a client that reads none until now.
    let (events, _write) = tokio::join!(drain, send(write, publish("").repeat(20_000)));
    let delivered = events.iter().filter(|event| event.event_type == "a");
    assert_eq!(accepted(read).await, 1 + delivered.count());
    assert_eq!(server.exit().await.code(), Some(0));
}
