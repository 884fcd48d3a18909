//! fastwebsockets with a queue per connection.

#![allow(
    clippy::disallowed_methods,
    reason = "what others write knows no crate of ours"
)]

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError};
use http_body_util::Full;
use stoat_bench::peer::{self, Queues};
use tokio::sync::mpsc;

fn main() -> ExitCode {
    peer::main(|listener| {
        let queues = Arc::new(Queues::<Bytes>::default());
        let subscribers = Arc::clone(&queues);
        let upgrade = move |mut request| {
            let (answer, websocket) = upgrade(&mut request).ok()?;
            let queue = subscribers.subscribe();
            // Whatever ends a connection ends it alone.
            tokio::spawn(async move { forward(websocket, queue).await.is_ok() });
            Some(answer.map(|_| Full::default()))
        };
        peer::serve(listener, upgrade, move |body| queues.publish(&body))
    })
}

async fn forward(
    websocket: UpgradeFut,
    mut queue: mpsc::Receiver<Bytes>,
) -> Result<(), WebSocketError> {
    let (read, mut write) = websocket.await?.split(tokio::io::split);
    let mut read = FragmentCollectorRead::new(read);
    tokio::spawn(async move {
        // Clients of the benchmark ask for no answer.
        let answer = &mut |_: Frame<'_>| async { Ok::<_, WebSocketError>(()) };
        while let Ok(frame) = read.read_frame(answer).await {
            if frame.opcode == OpCode::Close {
                return;
            }
        }
    });
    while let Some(text) = queue.recv().await {
        write
            .write_frame(Frame::text(Payload::Borrowed(&text)))
            .await?;
    }
    Ok(())
}
