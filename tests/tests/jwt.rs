//! JSON Web Tokens: who is let in, who is not, and what happens when the time is up.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use stoat_tests::access::{READER, claims, in_seconds, key_file, refused, rs256, tokens};
use stoat_tests::{Request, Server, Setup, run};

fn settings(algorithm: &str, file: &str, path: &Path) -> String {
    let path = path.to_str().expect("text");
    format!(
        "[jwt]\nalgorithm = \"{algorithm}\"\n{file} = \"{path}\"\n\
         issuer = \"https://issuer.example\"\naudience = \"stoat\"\n"
    )
}

fn rs256_settings() -> String {
    settings("RS256", "public_key_file", &key_file("rs256.pub.pem"))
}

fn start() -> Server {
    Setup::default().file(&rs256_settings()).start()
}

async fn history(server: &Server, token: &str) -> stoat_tests::Response {
    Request::get("/api/v1/events")
        .bearer(token)
        .send(server)
        .await
}

fn reader(more: Value) -> Value {
    let mut claims = claims(json!({ "stoat_rights": ["subscribe"] }));
    claims
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    claims
}

#[tokio::test]
async fn claims_give_rights_and_topics() {
    let server = start();
    let all = rs256(&claims(
        json!({ "stoat_rights": ["publish", "subscribe", "admin"] }),
    ));
    let team = rs256(&claims(json!({
        "stoat_rights": ["publish", "subscribe"], "stoat_topics": ["team.*"],
    })));
    let nothing = rs256(&claims(json!({})));

    assert_eq!(
        Request::get("/metrics")
            .bearer(&all)
            .send(&server)
            .await
            .status,
        200
    );
    refused(
        &Request::get("/metrics").bearer(&team).send(&server).await,
        403,
    );
    refused(&history(&server, &nothing).await, 403);
    let outside = Request::publish(r#"{"type":"a"}"#).bearer(&team);
    refused(&outside.send(&server).await, 403);

    let mut client = server.client_as(&team, "/ws").await;
    server.publish_as(&all, r#"{"type":"hidden"}"#).await;
    server
        .publish_as(&team, r#"{"type":"shown","topic":"team.x"}"#)
        .await;
    assert_eq!(client.event().await.event_type, "shown");
}

#[tokio::test]
async fn who_is_not_meant_is_not_let_in() {
    let server = start();
    assert_eq!(
        history(&server, &rs256(&reader(json!({})))).await.status,
        200
    );

    let public = fs::read(key_file("rs256.pub.pem")).expect("a key");
    let confused = EncodingKey::from_secret(&public);
    let confused = encode(
        &Header::new(Algorithm::HS256),
        &reader(json!({})),
        &confused,
    );
    let ec = fs::read(key_file("es256.pem")).expect("a key");
    let ec = EncodingKey::from_ec_pem(&ec).expect("a key");
    let other_algorithm = encode(&Header::new(Algorithm::ES256), &reader(json!({})), &ec);
    let good = rs256(&reader(json!({})));
    let payload = good.split('.').nth(1).expect("a payload");
    let signature = good.rsplit('.').next().expect("a signature");
    let forged = rs256(&claims(json!({ "stoat_rights": [] })));
    let forged_head = forged.split('.').next().expect("a header");

    for token in [
        confused.expect("a token"),
        other_algorithm.expect("a token"),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJub25lIn0.{payload}.{signature}"),
        // The claims of one with the signature of another.
        format!(
            "{forged_head}.{payload}.{}",
            forged.rsplit('.').next().expect("one")
        ),
        format!("{good}x"),
        "a.b.c".to_owned(),
        rs256(&reader(json!({ "iss": "https://other.example" }))),
        rs256(&reader(json!({ "aud": "other" }))),
        rs256(&reader(json!({ "exp": in_seconds(-10) }))),
        rs256(&reader(json!({ "nbf": in_seconds(600) }))),
        rs256(&reader(json!({ "exp": null }))),
        rs256(&reader(json!({ "stoat_topics": "team.*" }))),
        rs256(&reader(json!({ "stoat_topics": null }))),
        rs256(&reader(json!({ "stoat_rights": "subscribe" }))),
    ] {
        let response = history(&server, &token).await;
        refused(&response, 401);
        assert!(!response.text().contains(&token), "{response:?}");
    }
    for wrong in ["iss", "aud"] {
        let mut without = reader(json!({}));
        without.as_object_mut().expect("an object").remove(wrong);
        refused(&history(&server, &rs256(&without)).await, 401);
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let server = start();
    let end = in_seconds(6);
    let token = rs256(&reader(json!({ "exp": end })));
    let lasting = rs256(&reader(json!({})));
    let publisher = rs256(&claims(json!({ "stoat_rights": ["publish"] })));
    let mut client = server.client_as(&token, "/ws").await;
    let mut busy = server.client_as(&token, "/ws?last_event_id=earliest").await;
    let mut other = server.client_as(&lasting, "/ws").await;
    server.publish_as(&publisher, r#"{"type":"before"}"#).await;

    for client in [&mut client, &mut busy] {
        let (events, frame) = client.closed().await;
        let frame = frame.expect("a Close with a code");
        assert_eq!(u16::from(frame.code), 1008);
        assert_eq!(frame.reason.as_str(), "authorization ended");
        assert_eq!(events.len(), 1);
        // Clocks may be set a little in between.
        assert!(in_seconds(1) >= end, "not before its time");
    }
    refused(&history(&server, &token).await, 401);
    server.publish_as(&publisher, r#"{"type":"after"}"#).await;
    assert_eq!(other.events(2).await[1].event_type, "after");
}

#[tokio::test]
async fn tokens_of_both_kinds_go_together() {
    let server = Setup::default()
        .file(&format!("{}{}", tokens(), rs256_settings()))
        .start();
    assert_eq!(history(&server, READER).await.status, 200);
    assert_eq!(
        history(&server, &rs256(&reader(json!({})))).await.status,
        200
    );
    refused(&history(&server, "unknown-0123456789").await, 401);
}

#[tokio::test]
async fn every_algorithm_and_kind_of_file_works() {
    let secret = "a-secret-of-at-least-thirty-two-bytes";
    let folder = tempfile::tempdir().expect("a folder");
    let secret_path = folder.path().join("secret");
    fs::write(&secret_path, format!("{secret}\n")).expect("a file");
    let pem = |name: &str| fs::read(key_file(name)).expect("a key");
    let ed = jsonwebtoken::DecodingKey::from_ed_pem(&pem("eddsa.pub.pem")).expect("a key");
    let mut jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&ed, None).expect("a key");
    jwk.common.key_id = Some("key-1".to_owned());
    let set = folder.path().join("jwks.json");
    fs::write(&set, json!({ "keys": [jwk] }).to_string()).expect("a file");

    let ec = EncodingKey::from_ec_pem(&pem("es256.pem")).expect("a key");
    let ed = EncodingKey::from_ed_pem(&pem("eddsa.pem")).expect("a key");
    for (algorithm, file, path, key) in [
        (
            Algorithm::HS256,
            "secret_file",
            &secret_path,
            EncodingKey::from_secret(secret.as_bytes()),
        ),
        (
            Algorithm::ES256,
            "public_key_file",
            &key_file("es256.pub.pem"),
            ec,
        ),
        (
            Algorithm::EdDSA,
            "public_key_file",
            &key_file("eddsa.pub.pem"),
            ed.clone(),
        ),
        (Algorithm::EdDSA, "jwks_file", &set, ed),
    ] {
        let text = settings(&format!("{algorithm:?}"), file, path);
        let server = Setup::default().file(&text).start();
        let header = Header {
            kid: (file == "jwks_file").then(|| "key-1".to_owned()),
            ..Header::new(algorithm)
        };
        let token = encode(&header, &reader(json!({})), &key).expect("a token");
        assert_eq!(history(&server, &token).await.status, 200, "{text}");
        refused(&history(&server, &rs256(&reader(json!({})))).await, 401);
    }
}

#[tokio::test]
async fn a_bad_key_file_is_a_bad_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = folder.path().join("bad");
    fs::write(&bad, "no-such-key-0123456789").expect("a file");
    let missing = folder.path().join("missing");
    for (algorithm, file, path) in [
        ("RS256", "public_key_file", &bad),
        ("RS256", "public_key_file", &missing),
        ("HS256", "secret_file", &missing),
        ("ES256", "public_key_file", &key_file("rs256.pub.pem")),
        ("ES256", "jwks_file", &bad),
        ("HS256", "public_key_file", &key_file("rs256.pub.pem")),
        ("HS256", "secret_file", &key_file("rs256.pub.pem")),
        ("none", "secret_file", &bad),
    ] {
        let config = folder.path().join("stoat.toml");
        fs::write(&config, settings(algorithm, file, path)).expect("a file");
        let config = config.to_str().expect("text");
        for command in ["serve", "check-config"] {
            let output = run(&[command, "--config", config]).await;
            assert_eq!(output.code, Some(2), "{output:?}");
            assert!(output.stderr.contains("bad value for jwt"), "{output:?}");
            assert!(!output.stderr.contains("no-such-key"), "{output:?}");
        }
    }
}
