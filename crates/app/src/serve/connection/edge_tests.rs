//! The stream below HTTP/1, over sockets and in memory.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use http::Response;
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::super::shared::Turn;
use super::*;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn over(stream: DuplexStream) -> (Edge<DuplexStream>, Arc<Shared<DuplexStream>>) {
    let shared = Arc::new(Shared::new(Instant::now()));
    (Edge::new(stream, Arc::clone(&shared)), shared)
}

#[tokio::test]
async fn the_fast_path_gets_the_plain_stream_and_what_was_read_too_far() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nearly")
        .await
        .unwrap();
    let (give, given) = oneshot::channel();
    let give = Mutex::new(Some(give));
    let shared = Arc::new(Shared::new(Instant::now()));
    let answers = Arc::clone(&shared);
    let service = service_fn(move |request: http::Request<Incoming>| {
        answers.request(None);
        let upgrade = hyper::upgrade::on(request);
        lock(&give).take().unwrap().send(upgrade).unwrap();
        answers.answer(None);
        let answer = Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "x")
            .body(Empty::<Bytes>::new());
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    http1::Builder::new()
        .serve_connection(
            TokioIo::new(Edge::new(stream, Arc::clone(&shared))),
            service,
        )
        .with_upgrades()
        .await
        .unwrap();
    let upgraded = given.await.unwrap().await.unwrap();
    let Taken::Tcp(mut stream, read) = take_tcp(upgraded) else {
        panic!("not a TCP stream");
    };
    assert_eq!(&read[..], b"early");
    assert!(shared.take_stream().is_none());
    stream.write_all(b"direct").await.unwrap();
    let mut said = vec![0; 400];
    let mut length = 0;
    while !said[..length].ends_with(b"direct") {
        length += client.read(&mut said[length..]).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_kept_back() {
    let (mut client, stream) = duplex(1 << 10);
    let (mut edge, shared) = over(stream);
    shared.request(None);
    shared.answer(Some(2));
    edge.write_all(b"HTTP/1.1 200 OK\r\n\r\nokHTTP/1.1 431 Too Large\r\n\r\n")
        .await
        .unwrap();
    edge.write_all(b"more").await.unwrap();
    edge.shutdown().await.unwrap();
    assert_eq!(shared.refused(), Some(431));
    assert!(shared.take_stream().is_none());
    drop(edge);
    let (mut stream, unsent) = shared.take_stream().unwrap();
    assert!(unsent.is_empty());
    stream.write_all(b"!").await.unwrap();
    drop(stream);
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "HTTP/1.1 200 OK\r\n\r\nok!");
}

#[tokio::test]
async fn what_may_be_http2_is_held_until_it_is_known() {
    let (mut client, stream) = duplex(1 << 10);
    let (mut edge, shared) = over(stream);
    client.write_all(b"PRI * HT").await.unwrap();
    let mut piece = [0; 64];
    {
        let mut read = std::pin::pin!(edge.read(&mut piece));
        let waits = std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
    }
    client.write_all(b"TP/1.1\r\n").await.unwrap();
    assert_eq!(edge.read(&mut piece[..10]).await.unwrap(), 10);
    assert_eq!(edge.read(&mut piece[10..]).await.unwrap(), 6);
    assert_eq!(&piece[..16], b"PRI * HTTP/1.1\r\n");
    assert!(shared.take_http2().is_none());

    let (mut client, stream) = duplex(1 << 10);
    let (mut edge, shared) = over(stream);
    let first = [PREFACE, b"settings"].concat();
    client.write_all(&first).await.unwrap();
    edge.read(&mut piece).await.unwrap_err();
    assert_eq!(shared.take_http2(), Some(first));
}

/// A stream that notes what each call wrote.
struct Noted {
    stream: DuplexStream,
    writes: Arc<Mutex<Vec<String>>>,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let text = String::from_utf8_lossy(&bytes[..written]).into_owned();
        lock(&self.writes).push(text);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The client of a connection that answers each request with its path, `/late` once it is told to,
/// and `/upgrade` with 101.
struct Pipelined {
    client: DuplexStream,
    /// What each call to the stream wrote.
    writes: Arc<Mutex<Vec<String>>>,
    tell: oneshot::Sender<()>,
    /// Ends with the status of a refusal, and what was not sent.
    ended: tokio::task::JoinHandle<(Option<u16>, Vec<u8>)>,
}

/// Over a stream that takes so many bytes at once.
fn pipelined(room: usize) -> Pipelined {
    let (client, stream) = duplex(room);
    let writes = Arc::new(Mutex::new(Vec::new()));
    let stream = Noted {
        stream,
        writes: Arc::clone(&writes),
    };
    let (tell, told) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let shared = Arc::new(Shared::new(Instant::now()));
    let answers = Arc::clone(&shared);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answers = Arc::clone(&answers);
        answers.request(None);
        let path = request.uri().path().to_owned();
        let told = match &*path {
            "/late" => lock(&told).take(),
            _ => None,
        };
        async move {
            if let Some(told) = told {
                told.await.unwrap();
            }
            let answer = Response::builder();
            let answer = match &*path {
                "/upgrade" => answer.status(101).header("connection", "upgrade"),
                _ => answer,
            };
            let length = (path != "/upgrade").then_some(path.len() as u64);
            answers.answer(length);
            let body = Full::new(Bytes::from(length.map_or(String::new(), |_| path)));
            Ok::<_, Infallible>(answer.body(body).unwrap())
        }
    });
    #[expect(clippy::disallowed_methods, reason = "behind it is no request")]
    let ended = tokio::spawn(async move {
        {
            let edge = Edge::new(stream, Arc::clone(&shared));
            let connection = http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(edge), service);
            let mut connection = std::pin::pin!(connection.with_upgrades());
            let polled = std::future::poll_fn(|cx| shared.poll(connection.as_mut(), cx));
            drop(polled.await);
        }
        let refused = shared.refused();
        (
            refused,
            shared.take_stream().map_or(Vec::new(), |taken| taken.1),
        )
    });
    Pipelined {
        client,
        writes,
        tell,
        ended,
    }
}

fn asking(paths: &[&str]) -> String {
    let ask = |path: &&str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    paths.iter().map(ask).collect()
}

/// Reads until all of these were answered in this order.
async fn answered(client: &mut DuplexStream, paths: &[&str]) -> String {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        let mut rest = &text[..];
        let found = |path: &&str| match rest.split_once(&format!("\r\n\r\n{path}")) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        };
        if paths.iter().all(found) {
            return text;
        }
        assert!(client.read_buf(&mut said).await.unwrap() > 0, "{text}");
    }
}

#[tokio::test]
async fn answers_that_nobody_waited_for_leave_together_and_none_waits_for_another() {
    let Pipelined {
        mut client,
        writes,
        tell,
        ..
    } = pipelined(1 << 16);
    // It is learnt with the second request.
    client
        .write_all(asking(&["/a", "/b"]).as_bytes())
        .await
        .unwrap();
    answered(&mut client, &["/a", "/b"]).await;
    lock(&writes).clear();

    let asked = asking(&["/c", "/d", "/e", "/late", "/f", "/g"]);
    client.write_all(asked.as_bytes()).await.unwrap();
    answered(&mut client, &["/c", "/d", "/e"]).await;
    assert_eq!(lock(&writes).len(), 1, "{writes:?}");
    tell.send(()).unwrap();
    answered(&mut client, &["/late", "/f", "/g"]).await;
    assert_eq!(lock(&writes).len(), 2, "{writes:?}");
}

#[tokio::test]
async fn what_was_kept_leaves_before_the_end_and_before_an_upgrade() {
    for last in ["no HTTP\r\n\r\n", &asking(&["/upgrade"])] {
        let Pipelined {
            mut client, ended, ..
        } = pipelined(1 << 16);
        let asked = asking(&["/a", "/b", "/c"]) + last;
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut said = answered(&mut client, &["/a", "/b", "/c"]).await;
        let (refused, unsent) = ended.await.unwrap();
        assert!(unsent.is_empty(), "{}", String::from_utf8_lossy(&unsent));
        client.read_to_string(&mut said).await.unwrap();
        let is_upgrade = last.contains("upgrade");
        assert_eq!(said.contains("HTTP/1.1 101"), is_upgrade, "{said}");
        assert_eq!(refused, (!is_upgrade).then_some(400));
    }
}

#[tokio::test]
async fn a_client_that_takes_little_at_once_gets_all_in_order() {
    let Pipelined { client, writes, .. } = pipelined(50);
    let paths: Vec<_> = (0..500).map(|n| format!("/{n:0100}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let asked = asking(&paths);
    let (mut from, mut to) = tokio::io::split(client);
    let ask = async { to.write_all(asked.as_bytes()).await.unwrap() };
    let take = async {
        let mut said = String::new();
        while !said.ends_with(paths[499]) {
            let mut piece = [0; 70];
            let count = from.read(&mut piece).await.unwrap();
            said += std::str::from_utf8(&piece[..count]).unwrap();
        }
        said
    };
    let ((), said) = tokio::join!(ask, take);
    let bodies = said.split("\r\n\r\n").skip(1);
    assert!(
        bodies
            .zip(&paths)
            .all(|(body, path)| body.starts_with(path))
    );
    assert_eq!(said, lock(&writes).concat());
}

#[tokio::test]
async fn what_was_kept_comes_back_with_a_stream_that_broke_off() {
    let Pipelined {
        mut client, ended, ..
    } = pipelined(1 << 16);
    let asked = asking(&["/a", "/b", "/c"]) + "GET /d HT";
    // All of it is there, and the end, before the server looks.
    client.write_all(asked.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let (refused, unsent) = ended.await.unwrap();
    assert_eq!(refused, None);
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    said += std::str::from_utf8(&unsent).unwrap();
    let bodies = said.split("\r\n\r\n").skip(1);
    assert!(
        bodies
            .zip(["/a", "/b", "/c"])
            .all(|(body, path)| body.starts_with(path))
    );
    assert!(said.ends_with("/c") && !unsent.is_empty(), "{said}");
}

#[tokio::test]
async fn what_the_stream_holds_back_is_flushed_after_answers_that_were_kept() {
    let (mut client, stream) = duplex(1 << 20);
    // As a stream of TLS, it delivers only what was flushed.
    let stream = BufWriter::with_capacity(1 << 20, stream);
    let shared = Arc::new(Shared::new(Instant::now()));
    let mut edge = Edge::new(stream, Arc::clone(&shared));
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let large = "x".repeat(2 * MOST_UNSENT);
    for body in ["a", &large] {
        // The second comes before the task has waited.
        shared.request(None);
        shared.answer(Some(body.len() as u64));
        let answer = format!("{head}{body}");
        edge.write_all(answer.as_bytes()).await.unwrap();
    }
    assert!(matches!(shared.turn(), Turn::Answer { .. }));
    edge.flush().await.unwrap();
    assert!(edge.stream.as_ref().unwrap().buffer().is_empty());
    assert!(matches!(shared.turn(), Turn::Head { .. }));
    let mut said = vec![0; 2 * head.len() + 1 + large.len()];
    assert_eq!(client.read_exact(&mut said).await.unwrap(), said.len());
}

#[tokio::test]
async fn a_body_is_not_the_beginning_of_the_next_head() {
    let (mut client, stream) = duplex(1 << 10);
    let (mut edge, shared) = over(stream);
    assert!(shared.head_has_begun(), "the first is due");
    client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    edge.read_exact(&mut [0; 19]).await.unwrap();
    shared.request(None);
    client.write_all(b"body").await.unwrap();
    edge.read_exact(&mut [0; 4]).await.unwrap();
    shared.answer(Some(0));
    edge.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    edge.flush().await.unwrap();
    assert!(!shared.head_has_begun());
    client.write_all(b"G").await.unwrap();
    edge.read_exact(&mut [0; 1]).await.unwrap();
    assert!(shared.head_has_begun());
}

#[tokio::test]
async fn few_writes_send_the_answers_to_many() {
    let Pipelined {
        mut client, writes, ..
    } = pipelined(1 << 20);
    let paths = vec!["/a"; 322];
    client
        .write_all(asking(&paths[..2]).as_bytes())
        .await
        .unwrap();
    answered(&mut client, &paths[..2]).await;
    lock(&writes).clear();
    let asked = asking(&paths[2..]);
    client.write_all(asked.as_bytes()).await.unwrap();
    answered(&mut client, &paths[2..]).await;
    let count = lock(&writes).len();
    assert!(count < 320 / 5, "{count}");
}

#[tokio::test]
async fn a_client_that_is_quick_is_not_ahead() {
    let (mut client, stream) = duplex(1 << 10);
    let (mut edge, shared) = over(stream);
    let asked = b"GET / HTTP/1.1\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
    for _ in 0..3 {
        client.write_all(asked).await.unwrap();
        edge.read_exact(&mut [0; 18]).await.unwrap();
        shared.request(None);
        shared.answer(Some(0));
        edge.write_all(answer).await.unwrap();
        edge.flush().await.unwrap();
    }
    assert!(!shared.is_ahead());
    // Another was in the same piece.
    shared.request(None);
    assert!(shared.is_ahead());
}
