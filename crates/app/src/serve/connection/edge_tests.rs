//! The stream below HTTP/1, over sockets and in memory.

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

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
        answers.request();
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
    shared.request();
    shared.answer(Some(2));
    edge.write_all(b"HTTP/1.1 200 OK\r\n\r\nokHTTP/1.1 431 Too Large\r\n\r\n")
        .await
        .unwrap();
    edge.write_all(b"more").await.unwrap();
    edge.shutdown().await.unwrap();
    assert_eq!(shared.refused(), Some(431));
    assert!(shared.take_stream().is_none());
    drop(edge);
    shared.take_stream().unwrap().write_all(b"!").await.unwrap();
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
