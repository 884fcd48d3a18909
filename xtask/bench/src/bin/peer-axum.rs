//! Axum with `tokio::sync::broadcast`: how most would write it.

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
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

async fn forward(mut socket: WebSocket, mut messages: broadcast::Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => {
                    if socket.send(Message::Text(text)).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            read = socket.recv() => {
                if !matches!(read, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
}
