//! Server-Sent Events behind nginx and Caddy, as `docs/deploy` has them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use stoat_tests::{Event, Front, Kind, Server, Setup, eventually, within};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// A stream of events that is read line by line.
struct Stream(Lines<BufReader<TcpStream>>);

impl Stream {
    /// Opens `/sse` with a further header line.
    async fn open(address: SocketAddr, header: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        let mut stream = stream.expect("a connection");
        let request = format!(
            "GET /sse HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{header}\r\n"
        );
        let sent = within("room for a request", stream.write_all(request.as_bytes())).await;
        sent.expect("an open connection");
        let mut stream = Self(BufReader::new(stream).lines());
        assert_eq!(stream.line().await, "HTTP/1.1 200 OK");
        stream
    }

    async fn line(&mut self) -> String {
        let line = within("a line", self.0.next_line()).await;
        line.expect("a connection").expect("a line before the end")
    }

    /// Whether the stream, left alone, goes on for so long.
    async fn outlives(&mut self, time: Duration) -> bool {
        let end = async {
            while let Ok(Some(line)) = self.0.next_line().await {
                // The last chunk: Caddy ends the answer, not the connection.
                if line == "0" {
                    return;
                }
            }
        };
        tokio::time::timeout(time, end).await.is_err()
    }

    /// The next event; what is no data, such as the sizes of chunks, is passed over.
    async fn event(&mut self) -> Event {
        loop {
            let line = self.line().await;
            if let Some(data) = line.strip_prefix("data:") {
                return Event::parse(data.trim_start());
            }
        }
    }
}

#[tokio::test]
async fn each_event_arrives_at_once_and_a_stream_resumes() {
    let server = Server::start(&["--trusted-proxies", "127.0.0.1/32"]);
    for kind in Kind::ALL {
        let front = Front::start(kind, &server).await;
        let relay = front.relay(Ipv4Addr::LOCALHOST).await;
        let mut stream = Stream::open(relay.address(), "").await;
        // None of them fills a buffer: each must arrive before the next is published.
        let mut first = None;
        for _ in 0..3 {
            let id = server.publish(r#"{"type":"a"}"#).await;
            assert_eq!(stream.event().await.id, id, "{kind:?}");
            first.get_or_insert(id);
        }
        let header = format!("Last-Event-ID: {}\r\n", first.expect("an ID"));
        let mut resumed = Stream::open(relay.address(), &header).await;
        let rest = [resumed.event().await, resumed.event().await];
        let next = server.publish(r#"{"type":"b"}"#).await;
        assert_eq!(resumed.event().await.id, next, "{kind:?}");
        assert_eq!(rest[1].event_type, "a");
    }
}

async fn comments_keep_an_idle_stream_alive(kind: Kind) {
    let proxied = async |interval: &str| {
        let server = Setup::default()
            .args(["--ws-ping-interval", interval])
            .start();
        let front = Front::start_with(kind, &server, &[kind.impatient()]).await;
        let relay = front.relay(Ipv4Addr::LOCALHOST).await;
        (server, front, relay)
    };

    // Without comments the proxy cuts it off.
    let (_server, _front, relay) = proxied("5h").await;
    eventually("the end of an idle stream", async || {
        let mut stream = Stream::open(relay.address(), "").await;
        (!stream.outlives(3 * Kind::PATIENCE).await).then_some(())
    })
    .await;

    // A machine that halts for a second ends it, too: then another try.
    let (server, _front, relay) = proxied("50ms").await;
    let mut stream = eventually("a stream that lives on", async || {
        let mut stream = Stream::open(relay.address(), "").await;
        let lives = stream.outlives(3 * Kind::PATIENCE).await;
        lives.then_some(stream)
    })
    .await;
    let id = server.publish(r#"{"type":"a"}"#).await;
    assert_eq!(stream.event().await.id, id);
}

#[tokio::test]
async fn comments_keep_an_idle_stream_alive_beyond_the_time_out_of_nginx() {
    comments_keep_an_idle_stream_alive(Kind::Nginx).await;
}

#[tokio::test]
async fn comments_keep_an_idle_stream_alive_beyond_a_time_out_of_caddy() {
    comments_keep_an_idle_stream_alive(Kind::Caddy).await;
}
