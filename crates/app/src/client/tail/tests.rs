//! Tests of following one connection, without a network.

use std::num::NonZeroU64;

use futures_util::SinkExt;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::cli::{Command, parse};

fn tail(count: Option<u64>) -> Tail {
    let arguments = ["stoat", "tail"].map(Into::into);
    let Ok(Command::Tail(mut tail)) = parse(arguments, &[]) else {
        panic!()
    };
    tail.count = count.and_then(NonZeroU64::new);
    tail
}

/// The two ends of one connection: the server's, the client's.
async fn pair() -> (WebSocketStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (server, client) = tokio::io::duplex(1 << 16);
    (
        WebSocketStream::from_raw_socket(server, Role::Server, None).await,
        WebSocketStream::from_raw_socket(client, Role::Client, None).await,
    )
}

fn event(event_type: &str, id: &str) -> String {
    format!(r#"{{"type":"{event_type}","payload":{{"n":1.0}},"event_id":"{id}"}}"#)
}

#[tokio::test]
async fn prints_all_but_heartbeats() {
    let (mut server, client) = pair().await;
    let sent = [
        event("a", "e-1"),
        event("heartbeat", "e-1"),
        r#"{"action":"pong"}"#.to_owned(),
        event("gap", "e-5"),
        event("heartbeat", "e-9"),
    ];
    for text in &sent {
        server.send(Message::text(text.as_str())).await.unwrap();
    }
    drop(server);
    let mut out = Vec::new();
    let mut stream = Stream::new(&tail(None), Lines::new(&mut out), None);
    let end = stream.follow(client).await.unwrap();
    assert!(matches!(end, End::Lost { wait: None, .. }), "{end:?}");
    assert_eq!(stream.position.as_str(), Some("e-9"));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("{}\n{}\n", sent[0], sent[3])
    );
}

#[tokio::test]
async fn stops_at_the_count() {
    let (mut server, client) = pair().await;
    for id in ["e-1", "e-2", "e-3"] {
        server.send(Message::text(event("a", id))).await.unwrap();
    }
    let mut out = Vec::new();
    let mut stream = Stream::new(&tail(Some(2)), Lines::new(&mut out), None);
    assert_eq!(stream.follow(client).await.unwrap(), End::Done);
    assert_eq!(stream.position.as_str(), Some("e-2"));
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_pings_do_not() {
    let (mut server, client) = pair().await;
    let start = Instant::now();
    let mut out = Vec::new();
    let mut stream = Stream::new(&tail(None), Lines::new(&mut out), None);
    let pings = async {
        sleep(Duration::from_secs(60)).await;
        server.send(Message::Ping("x".into())).await.unwrap();
        let answer = server.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Pong("x".into()));
        server
    };
    let (end, _server) = tokio::join!(stream.follow(client), pings);
    assert_eq!(
        end.unwrap(),
        End::lost("nothing was heard: no answer within 90 s")
    );
    assert_eq!(start.elapsed(), Duration::from_secs(150));
}

#[tokio::test]
async fn a_close_is_answered_and_may_ask_to_wait() {
    let (mut server, client) = pair().await;
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "retry_ms=1500".into(),
    };
    server.send(Message::Close(Some(frame))).await.unwrap();
    let mut out = Vec::new();
    let mut stream = Stream::new(&tail(None), Lines::new(&mut out), None);
    let answer = async { server.next().await };
    let (end, answer) = tokio::join!(stream.follow(client), answer);
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    assert_eq!(
        end.unwrap(),
        End::Lost {
            why: "closed by the server with 1001 (retry_ms=1500)".to_owned(),
            wait: Some(Duration::from_millis(1500)),
        }
    );
}

#[test]
fn only_going_away_asks_to_wait() {
    let wait = |code, reason: &'static str| {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        match closed(Some(frame)) {
            End::Lost { wait, .. } => wait,
            End::Done => panic!("done"),
        }
    };
    assert_eq!(
        wait(CloseCode::Away, "shutdown, retry_ms=7; bye"),
        Some(Duration::from_millis(7))
    );
    assert_eq!(wait(CloseCode::Away, "retry_ms=soon"), None);
    assert_eq!(wait(CloseCode::Away, ""), None);
    assert_eq!(wait(CloseCode::Policy, "retry_ms=7"), None);
    assert_eq!(closed(None), End::lost("closed by the server"));
}
