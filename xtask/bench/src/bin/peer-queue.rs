//! hyper-tungstenite with a queue per connection.

#![allow(
    clippy::disallowed_methods,
    reason = "what others write knows no crate of ours"
)]

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::{Message, Utf8Bytes};
use stoat_bench::peer::{self, Queues};
use tokio::sync::mpsc;

fn main() -> ExitCode {
    peer::main(|listener| {
        let queues = Arc::new(Queues::<Utf8Bytes>::default());
        let subscribers = Arc::clone(&queues);
        let upgrade = move |mut request| {
            let (answer, websocket) = hyper_tungstenite::upgrade(&mut request, None).ok()?;
            tokio::spawn(forward(websocket, subscribers.subscribe()));
            Some(answer)
        };
        let publish = move |body| {
            if let Ok(text) = Utf8Bytes::try_from(body) {
                queues.publish(&text);
            }
        };
        peer::serve(listener, upgrade, publish)
    })
}

/// One task reads and one writes: a `select!` over both would begin a read, and prepare a large
/// buffer for it, at each message that is written.
async fn forward(websocket: HyperWebsocket, mut queue: mpsc::Receiver<Utf8Bytes>) {
    let Ok(websocket) = websocket.await else {
        return;
    };
    let (mut write, mut read) = websocket.split();
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = read.next().await {} });
    while let Some(text) = queue.recv().await {
        if write.send(Message::Text(text)).await.is_err() {
            break;
        }
    }
    reader.abort();
}
