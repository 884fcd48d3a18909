//! Axum with `tokio::sync::broadcast`: how most would write it.

#![allow(
    clippy::disallowed_methods,
    reason = "what others write knows no crate of ours"
)]

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{SinkExt as _, StreamExt as _};
use stoat_bench::peer;
use tokio::sync::broadcast::{self, error::RecvError};

type Channel = broadcast::Sender<Utf8Bytes>;

fn main() -> ExitCode {
    peer::main(|listener| {
        let router = Router::new()
            .route("/ws", get(subscribe))
            .route("/publish", post(publish))
            .with_state(Channel::new(peer::QUEUE));
        async { axum::serve(listener, router).await }
    })
}

async fn subscribe(State(channel): State<Channel>, upgrade: WebSocketUpgrade) -> Response {
    let messages = channel.subscribe();
    upgrade.on_upgrade(|socket| forward(socket, messages))
}

async fn publish(State(channel): State<Channel>, body: String) -> StatusCode {
    // Nobody may be there to listen.
    let _ = channel.send(body.into());
    StatusCode::ACCEPTED
}

/// One task reads and one writes: a `select!` over both would begin a read, and prepare a large
/// buffer for it, at each message that is written.
async fn forward(socket: WebSocket, mut messages: broadcast::Receiver<Utf8Bytes>) {
    let (mut write, mut read) = socket.split();
    let mut writer = tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok(text) => {
                    if write.send(Message::Text(text)).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    let mut reader = tokio::spawn(async move { while let Some(Ok(_)) = read.next().await {} });
    tokio::select! {
        _ = &mut writer => reader.abort(),
        _ = &mut reader => writer.abort(),
    }
}
