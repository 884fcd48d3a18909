//! `stoat publish`: what it sends, prints, repeats and gives up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// What the server does with a request.
enum Reply {
    /// Answers with a status, a body and perhaps a header.
    Answer(u16, &'static str, Option<(&'static str, &'static str)>),
    /// Acknowledges each line of the body.
    Receipts,
    /// Acknowledges, and closes the connection.
    ReceiptsThenClose,
    /// Closes the connection without an answer.
    HangUp,
}

use Reply::{Answer, HangUp, Receipts, ReceiptsThenClose};

/// A request as it came, with the number of its connection.
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
    connection: usize,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: UnboundedSender<Seen>,
}

/// Serves these replies, one for each request, until the test ends.
async fn serve<const N: usize>(replies: [Reply; N]) -> (String, UnboundedReceiver<Seen>) {
    let (listener, url) = listen().await;
    let (seen, requests) = unbounded_channel();
    let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
    let script = Script { replies, seen };
    stoat_correlation::spawn(async move {
        for connection in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let script = script.clone();
            let service = service_fn(move |request| reply(script.clone(), request, connection));
            let driver = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            stoat_correlation::spawn(async move {
                let _ = driver.await;
            });
        }
    });
    (url, requests)
}

async fn reply(
    script: Script,
    request: http::Request<Incoming>,
    connection: usize,
) -> Result<http::Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "no body")?.to_bytes();
    let body = String::from_utf8(body.to_vec()).map_err(|_| "no text")?;
    let lines = body.lines().count();
    let _ = script.seen.send(Seen {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body,
        connection,
    });
    let reply = script.replies.lock().unwrap().pop_front();
    let response = http::Response::builder();
    let receipts = || {
        let receipts: Vec<String> = (0..lines)
            .map(|n| format!(r#"{{"event_id":"e-{n}"}}"#))
            .collect();
        Full::from(format!(r#"{{"events":[{}]}}"#, receipts.join(",")))
    };
    let response = match reply.ok_or("more requests than replies")? {
        HangUp => return Err("hangs up"),
        Receipts => response.status(201).body(receipts()),
        ReceiptsThenClose => response
            .status(201)
            .header("connection", "close")
            .body(receipts()),
        Answer(status, body, header) => {
            let response = response.status(status);
            let response = match header {
                Some((name, value)) => response.header(name, value),
                None => response,
            };
            response.body(Full::from(body))
        }
    };
    Ok(response.unwrap())
}

const PROBLEM: &str = r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"detail":"event 2: type: bad"}"#;

async fn publish_lines(url: &str, input: &str) -> Ended {
    let mut stoat = Stoat::start(&["publish", "-", "--url", url]);
    let mut stdin = stoat.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    stoat.end().await
}

#[tokio::test]
async fn one_event_goes_as_it_was_given() {
    let receipt = r#"{"event_id":"e-1","timestamp":"t","correlation_id":"c"}"#;
    let (url, mut requests) = serve([Answer(201, receipt, None)]).await;
    let ended = Stoat::start(&[
        "publish",
        "scan_started",
        r#"{"n": 1.10e400}"#,
        "--topic=t.x",
        "--correlation-id=c",
        "--idempotency-key=k",
        "--url",
        &url,
    ])
    .end()
    .await;
    ended.assert_code(0);
    assert_eq!(ended.stdout, [receipt]);
    assert_eq!(ended.stderr, "");
    let seen = in_time(requests.recv()).await.unwrap();
    assert_eq!(
        (seen.method, seen.path.as_str()),
        (Method::POST, "/api/v1/events")
    );
    assert_eq!(
        seen.body,
        r#"{"type":"scan_started","payload":{"n": 1.10e400},"topic":"t.x","correlation_id":"c"}"#
    );
}

#[tokio::test]
async fn one_event_that_is_refused_is_told() {
    let (url, _requests) = serve([
        Answer(422, PROBLEM, None),
        HangUp,
        Answer(200, "<html>", None),
    ])
    .await;
    for expected in [
        "stoat: publish refused: 422 Unprocessable Content: event 2: type: bad\n",
        "the event may have been published",
        "is it a stoat server?",
    ] {
        let ended = Stoat::start(&["publish", "a", "--url", &url]).end().await;
        ended.assert_code(1);
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
    let url = nowhere().await;
    for arguments in [&["publish", "a", "--url"][..], &["publish", "-", "--url"]] {
        let mut stoat = Stoat::start(&[arguments, &[url.as_str()]].concat());
        let mut stdin = stoat.stdin.take().unwrap();
        // One event needs no input, and may be gone before it comes.
        let _ = stdin.write_all(b"{\"type\":\"a\"}\n").await;
        drop(stdin);
        let ended = stoat.end().await;
        ended.assert_code(1);
        let expected = format!("stoat: cannot reach the server at {url}: ");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
    }
}

#[tokio::test]
async fn batches_are_repeated_with_their_key() {
    let busy = Answer(503, "{}", Some(("retry-after", "0")));
    let (url, mut requests) = serve([busy, HangUp, Receipts, Receipts]).await;
    let input = "{\"type\":\"a\"}\n".repeat(501);
    let ended = publish_lines(&url, &input).await;
    ended.assert_code(0);
    let expected: Vec<String> = (0..500)
        .chain(0..1)
        .map(|n| format!(r#"{{"event_id":"e-{n}"}}"#))
        .collect();
    assert_eq!(ended.stdout, expected);
    assert_eq!(ended.stderr.matches("trying again").count(), 2, "{ended:?}");

    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(in_time(requests.recv()).await.unwrap());
    }
    let keys: Vec<&str> = seen
        .iter()
        .map(|seen| seen.header("idempotency-key"))
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0], keys[2]);
    assert_eq!(keys[0].strip_suffix('1'), keys[3].strip_suffix('2'));
    let lines: Vec<usize> = seen.iter().map(|seen| seen.body.lines().count()).collect();
    assert_eq!(lines, [500, 500, 500, 1]);
    assert_eq!(seen[3].header("content-type"), "application/x-ndjson");
    let connections: Vec<usize> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1]);
}

#[tokio::test]
async fn an_interactive_input_is_not_held_back() {
    let (url, mut requests) = serve([ReceiptsThenClose, Receipts]).await;
    let mut stoat = Stoat::start(&["publish", "-", "--url", &url, "--idempotency-key=k"]);
    let mut stdin = stoat.stdin.take().unwrap();
    for expected in ["k.1", "k.2"] {
        stdin.write_all(b"\n{\"type\":\"a\"}\n").await.unwrap();
        assert_eq!(stoat.line().await.as_deref(), Some(r#"{"event_id":"e-0"}"#));
        let seen = in_time(requests.recv()).await.unwrap();
        assert_eq!(seen.header("idempotency-key"), expected);
        assert_eq!(seen.body, "{\"type\":\"a\"}\n");
    }
    drop(stdin);
    let ended = stoat.end().await;
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn a_bad_line_is_named() {
    let (url, _requests) = serve([Receipts, Answer(422, PROBLEM, None)]).await;
    let good = "{\"type\":\"a\"}\n".repeat(500);
    let ended = publish_lines(&url, &format!("{good}\n{{}}\n\n{{}}\nbad\n{{}}\n")).await;
    ended.assert_code(1);
    assert_eq!(ended.stdout.len(), 500);
    assert_eq!(
        ended.stderr,
        "stoat: publish refused: 422 Unprocessable Content: event 2: type: bad (input line 505); \
         nothing of input lines 502 to 506 was published; 500 events were acknowledged\n"
    );
}

#[tokio::test]
async fn gives_up_where_the_server_asks_for_too_much_patience() {
    let busy = Answer(503, "{}", Some(("retry-after", "3600")));
    let (url, _requests) = serve([busy]).await;
    let ended = publish_lines(&url, "{\"type\":\"a\"}\n").await;
    ended.assert_code(1);
    assert_eq!(
        ended.stderr,
        "stoat: gave up: 503 Service Unavailable; 0 events were acknowledged; \
         input line 1: not published\n"
    );
}

#[tokio::test]
async fn an_empty_input_needs_no_server() {
    let ended = publish_lines(&nowhere().await, "\n \n").await;
    ended.assert_code(0);
    assert!(
        ended.stdout.is_empty() && ended.stderr.is_empty(),
        "{ended:?}"
    );
}

#[tokio::test]
async fn what_is_no_delivery_report_is_not_printed() {
    let (url, _requests) = serve([Answer(200, "<html>", None)]).await;
    let ended = Stoat::start(&["delivery", "0000000000000000-1", "--url", &url]);
    let ended = ended.end().await;
    ended.assert_code(1);
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(ended.stderr.contains("is it a stoat server?"), "{ended:?}");
}
