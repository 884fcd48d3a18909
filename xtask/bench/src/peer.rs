//! What the servers that others would write have in common: the runtime, hyper, a queue each.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use crate::arguments::Arguments;
use crate::process;

/// How many messages may wait for one client, or in a channel for all.
pub const QUEUE: usize = 1024;

/// What all requests are answered with.
pub type Answer = Response<Full<Bytes>>;

/// A bounded queue for each client.
#[derive(Debug)]
pub struct Queues<M> {
    all: Mutex<Vec<mpsc::Sender<M>>>,
}

impl<M> Default for Queues<M> {
    fn default() -> Self {
        Self {
            all: Mutex::new(Vec::new()),
        }
    }
}

impl<M: Clone> Queues<M> {
    /// A queue for a new client.
    pub fn subscribe(&self) -> mpsc::Receiver<M> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(sender);
        receiver
    }

    /// Puts a message into each queue; a client that is gone, or whose queue is full, loses it.
    pub fn publish(&self, message: &M) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|queue| queue.try_send(message.clone()).is_ok());
    }
}

/// Runs a server on the port of the command line.
pub fn main<F: Future<Output = io::Result<()>>>(serve: impl FnOnce(TcpListener) -> F) -> ExitCode {
    let outcome = Arguments::parse(std::env::args().skip(1), &[], &["--port"])
        .and_then(|arguments| {
            arguments
                .number("--port")?
                .ok_or("--port is missing".into())
        })
        .and_then(|port| run(port, serve).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "why a command line program ends")]
fn complain(error: &str) {
    eprintln!("{error}");
}

fn run<F: Future<Output = io::Result<()>>>(
    port: u16,
    serve: impl FnOnce(TcpListener) -> F,
) -> io::Result<()> {
    process::raise_descriptor_limit()?;
    // As many threads as TOKIO_WORKER_THREADS says.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        // Those that it accepts inherit it.
        socket.set_nodelay(true)?;
        socket.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
        serve(socket.listen(4096)?).await
    })
}

/// Serves a WebSocket with `upgrade`, and hands what is published to `publish`.
///
/// # Errors
///
/// The listener breaks.
#[expect(clippy::disallowed_methods, reason = "no crate of ours is in here")]
pub async fn serve(
    listener: TcpListener,
    upgrade: impl Fn(Request<Incoming>) -> Option<Answer> + Send + Sync + 'static,
    publish: impl Fn(Bytes) + Send + Sync + 'static,
) -> io::Result<()> {
    let handlers = Arc::new((upgrade, publish));
    loop {
        let (stream, _) = listener.accept().await?;
        let handlers = Arc::clone(&handlers);
        let service = service_fn(move |request: Request<Incoming>| {
            let handlers = Arc::clone(&handlers);
            async move {
                let (upgrade, publish) = &*handlers;
                Ok::<_, Infallible>(answer(request, upgrade, publish).await)
            }
        });
        tokio::spawn(async move {
            let io = TokioIo::new(stream);
            let connection = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(io, service);
            // A connection that breaks is over.
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    upgrade: &impl Fn(Request<Incoming>) -> Option<Answer>,
    publish: &impl Fn(Bytes),
) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    if request.method() == Method::POST {
        if let Ok(body) = request.into_body().collect().await {
            publish(body.to_bytes());
            *answer.status_mut() = StatusCode::ACCEPTED;
        }
        answer
    } else {
        upgrade(request).unwrap_or(answer)
    }
}
