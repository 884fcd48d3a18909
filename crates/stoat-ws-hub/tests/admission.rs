//! Clients that may see only a part, or only for some time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use stoat_events::{Event, EventType, Scope, Topic, TopicPattern};
use stoat_ws_hub::{Admission, ConnectionManager, DisconnectReason, RejectReason};
use support::{Client, listen, until, within};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Serves a hub that lets everybody in on these terms.
async fn serve(hub: &ConnectionManager, admission: Admission) -> SocketAddr {
    let hub = hub.clone();
    listen(move |stream, peer| serve_one(stream, hub.clone(), peer, admission.clone())).await
}

fn serve_one<S>(stream: S, hub: ConnectionManager, peer: SocketAddr, admission: Admission)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answer = hub.accept_with(&mut request, peer, admission.clone());
        let answer = answer.unwrap().map(|()| Full::<Bytes>::default());
        async move { Ok::<Response<_>, Infallible>(answer) }
    });
    tokio::spawn(async move {
        let http = hyper::server::conn::http1::Builder::new();
        let served = http.serve_connection(TokioIo::new(stream), service);
        let _ = served.with_upgrades().await;
    });
}

async fn publish(hub: &ConnectionManager, topic: Option<&str>, n: u64) {
    let event = Event::builder(EventType::ScanStarted)
        .payload(&serde_json::json!({ "n": n }))
        .unwrap()
        .topic(topic.map(|topic| Topic::parse(topic).unwrap()))
        .build();
    hub.broadcast(event).await.unwrap();
}

#[tokio::test]
async fn a_scope_holds_for_replay_live_and_every_subscription() {
    let hub = ConnectionManager::in_memory();
    let topics = [TopicPattern::parse("mine.*").unwrap()];
    let admission = Admission::default().scope(Scope::topics(topics));
    let address = serve(&hub, admission).await;
    publish(&hub, Some("theirs.a"), 1).await;
    publish(&hub, Some("mine.a"), 2).await;
    publish(&hub, None, 3).await;

    let mut client = Client::connect(address, "?last_event_id=earliest&topics=*").await;
    assert_eq!(client.number().await, 2);
    let subscribe = r#"{"action":"subscribe","types":null,"topics":["theirs.a","mine.*"]}"#;
    client.send(Message::text(subscribe)).await;
    client.send(Message::text(r#"{"action":"ping"}"#)).await;
    assert_eq!(client.json().await["action"], "pong");
    publish(&hub, Some("theirs.a"), 4).await;
    publish(&hub, Some("mine.b"), 5).await;
    assert_eq!(client.number().await, 5);

    let listed = serde_json::to_value(hub.list()).unwrap();
    let filters = serde_json::json!({ "types": null, "topics": ["theirs.a", "mine.*"] });
    assert_eq!(listed[0]["filters"], filters);
}

#[tokio::test]
async fn at_its_time_the_connection_is_closed() {
    let hub = ConnectionManager::in_memory();
    let end = Instant::now() + Duration::from_millis(300);
    let address = serve(&hub, Admission::default().until(end)).await;

    let mut client = Client::connect(address, "").await;
    let frame = client.close_frame().await;

    assert!(Instant::now() >= end);
    assert_eq!(frame.code, CloseCode::Policy);
    assert_eq!(frame.reason.as_str(), "authorization ended");
    drop(client);
    let ended = |hub: &ConnectionManager| {
        let mut all = hub.stats().disconnects.into_iter();
        all.any(|(reason, count)| reason == DisconnectReason::AuthorizationEnded && count == 1)
    };
    within(until(|| ended(&hub))).await;
}

/// Connects over `near`, and waits for the end while events are published without pause.
async fn end_under_load<S>(hub: &ConnectionManager, near: S, query: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let url = format!("ws://hub.example.com/ws{query}");
    let (stream, _) = within(tokio_tungstenite::client_async(url, near))
        .await
        .unwrap();
    let mut client = Client(stream);
    let publisher = tokio::spawn({
        let hub = hub.clone();
        async move {
            for n in 0.. {
                publish(&hub, None, n).await;
                if n % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    assert_eq!(client.last_frame().await.code, CloseCode::Policy);
    publisher.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_pause_do_not_hold_up_the_end() {
    for query in ["?types=other", ""] {
        let hub = ConnectionManager::in_memory();
        let admission = || Admission::default().until(Instant::now() + Duration::from_millis(300));
        let peer = ([127, 0, 0, 1], 9).into();

        let (near, far) = tokio::io::duplex(1 << 16);
        serve_one(far, hub.clone(), peer, admission());
        end_under_load(&hub, near, query).await;

        let address = serve(&hub, admission()).await;
        let near = TcpStream::connect(address).await.unwrap();
        end_under_load(&hub, near, query).await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_embedder_is_counted() {
    let hub = ConnectionManager::in_memory();
    hub.count_rejected(RejectReason::Unauthorized);
    let rejects = hub.stats().rejects;
    assert!(rejects.contains(&(RejectReason::Unauthorized, 1)));
    assert!(rejects.contains(&(RejectReason::Forbidden, 0)));
}
