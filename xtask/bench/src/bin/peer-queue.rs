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

async fn forward(websocket: HyperWebsocket, mut queue: mpsc::Receiver<Utf8Bytes>) {
    let Ok(mut websocket) = websocket.await else {
        return;
    };
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(text) = message else { return };
                if websocket.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            read = websocket.next() => {
                if !matches!(read, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
}
