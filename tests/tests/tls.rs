//! TLS: what is spoken, what is refused, and a certificate that is replaced.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs;

use rustix::process::Signal;
use stoat_tests::tls::curl;
use stoat_tests::{Connection, Foreign, Identity, Server, eventually, run, run_with};

const LIVE: &str = "/health/live";
/// curl: the certificate cannot be checked.
const UNTRUSTED: i32 = 60;

#[tokio::test]
async fn curl_speaks_every_version() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let cert = identity.cert();

    for (args, version) in [
        (&["--http1.1"][..], "1.1"),
        (&["--http2"], "2"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let (spoken, status, _) = curl(&server, &cert, LIVE, args).await.expect("an answer");
        assert_eq!((spoken.as_str(), status), (version, 200), "{args:?}");
        let publish = [args, &["--json", r#"{"type":"a"}"#]].concat();
        let answer = curl(&server, &cert, "/api/v1/events", &publish).await;
        assert_eq!(answer.expect("an answer").1, 201, "{args:?}");
        let answer = curl(&server, &cert, "/ws", args).await;
        assert_eq!(answer.expect("an answer").1, 426, "{args:?}");
    }
    let old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    assert!(curl(&server, &cert, LIVE, &old).await.is_err());
    let stranger = Identity::new();
    let answer = curl(&server, &stranger.cert(), LIVE, &[]).await;
    assert_eq!(answer, Err(UNTRUSTED));
}

#[tokio::test]
async fn a_websocket_over_tls_is_one_like_any_other() {
    let identity = Identity::new();
    let mut server = identity.serve(&[]);
    let cert = identity.cert();
    let mut client = Foreign::python_trusting(&cert, &server, "/ws?types=big,small").await;
    let publish = async |server: &Server, body: &str| {
        let args = ["--json", body];
        let answer = curl(server, &cert, "/api/v1/events", &args).await;
        assert_eq!(answer.expect("an answer").1, 201);
    };
    let filler = "x".repeat(60_000);
    publish(&server, r#"{"type":"hidden"}"#).await;
    publish(
        &server,
        &format!(r#"{{"type":"big","payload":{{"x":"{filler}"}}}}"#),
    )
    .await;
    publish(&server, r#"{"type":"small"}"#).await;
    let events = client.texts(2).await[0].events();
    assert!(events[0].payload.contains(&filler));
    assert_eq!(events[1].event_type, "small");
    client.send(0, r#"{"action":"ping"}"#).await;
    assert_eq!(client.texts(3).await[0].texts[2], r#"{"action":"pong"}"#);

    server.terminate();
    let (code, reason) = client.closed().await[0].close.clone().expect("a Close");
    assert_eq!((code, reason.starts_with("retry_ms=")), (1001, true));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_no_tls_is_closed() {
    let identity = Identity::new();
    let patient = identity.serve(&["--handshake-timeout", "1h"]);
    let mut plain = Connection::open(patient.address()).await;
    plain
        .write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let said = plain.rest().await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");

    let hasty = identity.serve(&["--handshake-timeout", "500ms"]);
    let mut half = Connection::open(hasty.address()).await;
    half.write(b"\x16\x03\x01\x02\x00\x01").await;
    half.rest().await;
    Connection::open(hasty.address()).await.rest().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_a_connection() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let old = identity.copy_cert("old.pem");
    let mut client = Foreign::python_trusting(&old, &server, "/ws").await;

    identity.replace();
    server.signal(Signal::HUP);
    let new = identity.copy_cert("new.pem");
    eventually("the new certificate is in use", async || {
        curl(&server, &new, LIVE, &[]).await.ok()
    })
    .await;
    assert_eq!(curl(&server, &old, LIVE, &[]).await, Err(UNTRUSTED));

    // One that is half written, and one that does not go with the key.
    let stranger = Identity::new();
    let half = fs::read(identity.cert()).expect("a file");
    for (n, bad) in [
        &half[..half.len() / 2],
        &fs::read(stranger.cert()).expect("a file"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(identity.cert(), bad).expect("a file");
        server.signal(Signal::HUP);
        eventually("the log tells", async || {
            let told = server
                .log()
                .matches("the old certificate stays in use")
                .count();
            (told > n).then_some(())
        })
        .await;
        assert_eq!(
            curl(&server, &new, LIVE, &[]).await.expect("an answer").1,
            200
        );
    }

    let args = ["--json", r#"{"type":"after"}"#];
    let answer = curl(&server, &new, "/api/v1/events", &args).await;
    assert_eq!(answer.expect("an answer").1, 201);
    assert_eq!(client.texts(1).await[0].events()[0].event_type, "after");
}

#[tokio::test]
async fn files_that_are_no_good_are_named_at_the_start() {
    let (one, other) = (Identity::new(), Identity::new());
    let empty = one.copy_cert("empty.pem");
    fs::write(&empty, "").expect("a file");
    let text = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    for (cert, key, expected) in [
        (
            "/no/such".to_owned(),
            text(one.key()),
            "tls_cert /no/such: ",
        ),
        (
            text(one.cert()),
            "/no/such".to_owned(),
            "tls_key /no/such: ",
        ),
        (text(empty.clone()), text(one.key()), "no certificate in it"),
        (
            text(one.cert()),
            text(empty.clone()),
            "no private key in it",
        ),
        (
            text(one.cert()),
            text(other.key()),
            "it is not the key of tls_cert",
        ),
        (text(one.cert()), String::new(), "tls_key is needed too"),
    ] {
        let listen = ["--listen", "127.0.0.1:0"];
        let files = ["--tls-cert", cert.as_str(), "--tls-key", key.as_str()];
        let output = run(&[&listen[..], &files].concat()).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[tokio::test]
async fn the_commands_speak_tls_to_a_server_that_is_vouched_for() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let url = format!("https://{}", server.address());
    let cert = identity.cert();
    let trusting = [("SSL_CERT_FILE", cert.to_str().expect("a path"))];
    let published = run_with(&["publish", "a", "{}", "--url", &url], &trusting, "").await;
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let tail = ["tail", &url, "--since", "earliest", "--count", "1"];
    let tailed = run_with(&tail, &trusting, "").await;
    assert!(tailed.stdout.contains(r#""type":"a""#), "{tailed:?}");

    let stranger = Identity::new().copy_cert("stranger.pem");
    let stranger = [("SSL_CERT_FILE", stranger.to_str().expect("a path"))];
    let refused = run_with(&tail, &stranger, "").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
}
