//! The hyper service on a real connection: what the client reads.
#![cfg(feature = "hyper")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::convert::Infallible;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stoat_correlation::{CorrelationService, current, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

async fn inner(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let id = current().unwrap();
    let response = Response::builder();
    let response = if request.headers().contains_key(header::UPGRADE) {
        response
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "echo")
            .body(String::new())
    } else {
        response
            .header("x-correlation-id", "its-own")
            .body(id.to_string())
    };
    Ok(response.unwrap())
}

/// Sends raw bytes on a fresh connection and returns the answer as text.
async fn exchange(request: &[u8]) -> String {
    let (mut client, server) = duplex(4096);
    let service = CorrelationService::new(service_fn(inner));
    let served = spawn(async move {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        drop(connection.with_upgrades().await);
    });
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    served.await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn ids(answer: &str) -> Vec<&str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("x-correlation-id: "))
        .collect()
}

#[tokio::test]
async fn a_response_has_the_id() {
    let answer =
        exchange(b"GET / HTTP/1.1\r\nhost: a\r\nx-correlation-id: r1\r\nconnection: close\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nr1"), "{answer}");
    assert_eq!(ids(&answer), ["r1"]);
}

#[tokio::test]
async fn the_101_of_an_upgrade_has_the_id() {
    let answer = exchange(
        b"GET / HTTP/1.1\r\nhost: a\r\nx-correlation-id: r1\r\n\
          connection: upgrade\r\nupgrade: echo\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{answer}"
    );
    assert_eq!(ids(&answer), ["r1"]);
}

#[tokio::test]
async fn an_invalid_id_is_not_echoed() {
    let answer = exchange(
        b"GET / HTTP/1.1\r\nhost: a\r\nx-correlation-id: forged \xc2\x9b id\r\n\
          connection: close\r\n\r\n",
    )
    .await;
    assert!(!answer.contains("forged"), "{answer}");
    assert_eq!(ids(&answer).concat().len(), 36, "{answer}");
}
