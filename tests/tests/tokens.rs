//! Tokens: where they are read, what each may do, and that nobody else learns them.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::json;
use stoat_tests::access::{
    BOSS, READER, SECRET_PART, TEAM, WRITER, key_file, refused, setup, tokens,
};
use stoat_tests::{
    Client, Connection, Foreign, Raw, Request, Response, Server, Setup, eventually, run, run_with,
};

/// The answer to a handshake with these header lines.
async fn handshake(server: &Server, target: &str, headers: &str) -> Response {
    let connection = Connection::open(server.address()).await;
    let request = Raw::handshake(server, target, headers);
    Raw::upgrade(connection, &request).await.1
}

#[tokio::test]
async fn each_route_needs_its_right() {
    let server = setup().start();
    let publish = || Request::publish(r#"{"type":"a"}"#);
    let get = |target| move || Request::get(target);
    let delete = || Request::new("DELETE", "/api/v1/connections/999");
    type Make<'a> = &'a dyn Fn() -> Request;
    let routes: [(Make<'_>, &str, u16); 7] = [
        (&publish, WRITER, 201),
        (&get("/api/v1/events"), READER, 200),
        (&get("/ws"), READER, 426),
        (&get("/api/v1/connections"), BOSS, 200),
        (&get("/api/v1/events/x/delivery"), BOSS, 400),
        (&get("/metrics"), BOSS, 200),
        (&delete, BOSS, 404),
    ];

    for (request, able, status) in routes {
        for token in [WRITER, READER, BOSS] {
            let response = request().bearer(token).send(&server).await;
            if token == able || token == BOSS {
                assert_eq!(response.status, status, "{response:?}");
                assert!(response.header("x-stoat-cursor").is_some());
            } else {
                let detail = refused(&response, 403);
                assert!(detail.contains("lacks the right"), "{detail}");
            }
        }
        let missing = refused(&request().send(&server).await, 401);
        assert!(missing.contains("Authorization: Bearer"), "{missing}");
        let unknown = format!("{BOSS}x");
        let wrong = refused(&request().bearer(&unknown).send(&server).await, 401);
        assert!(wrong.contains("not valid"), "{wrong}");
    }
    for open in ["/health/live", "/health/ready"] {
        assert_eq!(Request::get(open).send(&server).await.status, 200);
    }
    // The method is judged where no right depends on it.
    let put = Request::new("PUT", "/api/v1/events").send(&server).await;
    put.problem(405);
}

#[tokio::test]
async fn a_token_may_stand_in_three_places() {
    let server = setup().start();
    let bearer = format!("Authorization: bearer {READER}\r\n");
    let offer = format!("Sec-WebSocket-Protocol: stoat.v1, bearer.{READER}\r\n");
    let offer_alone = format!("Sec-WebSocket-Protocol: bearer.{READER}\r\n");
    let query = format!("/ws?types=a&token={READER}");

    for (target, headers, subprotocol) in [
        ("/ws", bearer.as_str(), None),
        (query.as_str(), "", None),
        ("/ws", offer.as_str(), Some("stoat.v1")),
        ("/ws", offer_alone.as_str(), None),
    ] {
        let response = handshake(&server, target, headers).await;
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-protocol"), subprotocol);
        assert!(!format!("{response:?}").contains(SECRET_PART));
    }
    for (target, headers) in [
        ("/ws", ""),
        ("/ws?token=", ""),
        ("/ws", "Authorization: Basic dTpw\r\n"),
        ("/ws", "Authorization: Bearer\r\n"),
        ("/ws", "Sec-WebSocket-Protocol: stoat.v1, bearer.\r\n"),
        (
            "/ws",
            "Sec-WebSocket-Protocol: stoat.v1, bearer.wrong-0123456789\r\n",
        ),
        (&format!("{query}&token={READER}"), ""),
        // The header counts, not what comes after it.
        (&query, "Authorization: Bearer wrong-0123456789\r\n"),
    ] {
        refused(&handshake(&server, target, headers).await, 401);
    }
    refused(
        &handshake(&server, &format!("/ws?token={WRITER}"), "").await,
        403,
    );
    let history = Request::get(&format!("/api/v1/events?token={READER}"));
    assert_eq!(history.send(&server).await.status, 200);

    let metrics = Request::get("/metrics").bearer(BOSS).send(&server).await;
    let metrics = metrics.text();
    for line in [
        "stoat_ws_rejected_handshakes_total{reason=\"unauthorized\"} 8",
        "stoat_ws_rejected_handshakes_total{reason=\"forbidden\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn clients_of_others_can_offer_a_token() {
    let server = setup().start();
    let offer = format!("stoat.v1,bearer.{READER}");
    let (mut python, mut node) = tokio::join!(
        Foreign::python_offering(&server, "/ws", 2, &offer),
        Foreign::node_offering(&server, "/ws", 2, &offer)
    );

    server.publish_as(WRITER, r#"{"type":"a"}"#).await;

    for clients in [&mut python, &mut node] {
        for client in clients.texts(1).await {
            assert_eq!(client.subprotocol.as_deref(), Some("stoat.v1"));
            assert_eq!(client.events()[0].event_type, "a");
        }
    }
}

#[tokio::test]
async fn the_rules_for_origins_hold_with_a_token_too() {
    let server = setup()
        .args(["--allowed-origins", "https://ok.example"])
        .start();
    let own = format!("http://{}", server.address());

    for (origin, status) in [
        ("https://ok.example", 101),
        (own.as_str(), 101),
        ("https://foreign.example", 403),
        ("null", 403),
    ] {
        let headers = format!("Origin: {origin}\r\nAuthorization: Bearer {READER}\r\n");
        let response = handshake(&server, "/ws", &headers).await;
        assert_eq!(response.status, status, "{origin}");
        if status == 403 {
            refused(&response, 403);
        }
    }
    // Who has no token learns nothing of origins.
    let headers = "Origin: https://foreign.example\r\n";
    refused(&handshake(&server, "/ws", headers).await, 401);
}

#[tokio::test]
async fn without_tokens_all_is_open_and_a_token_is_ignored() {
    let server = Server::start(&[]);
    let request = Request::publish(r#"{"type":"a"}"#).bearer("whatever");
    assert_eq!(request.send(&server).await.status, 201);
    assert_eq!(
        handshake(&server, "/ws?token=x&token=y", "").await.status,
        101
    );
    assert_eq!(Request::get("/metrics").send(&server).await.status, 200);
}

#[tokio::test]
async fn no_token_is_ever_said_again() {
    let secret = "jwt-secret-5f3a9c77e1d04b62-0123456789";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, secret).expect("a file");
    let jwt = json!({ "algorithm": "HS256", "secret_file": path }).to_string();
    let mut server = setup()
        .args([
            "--log-level",
            "trace",
            "--log-format",
            "json",
            "--jwt",
            &jwt,
        ])
        .start();
    let mut said = String::new();

    for token in [
        BOSS,
        WRITER,
        READER,
        TEAM,
        &format!("unknown-{SECRET_PART}"),
    ] {
        for request in [
            Request::get("/api/v1/events"),
            Request::get("/metrics"),
            Request::get(&format!("/api/v1/connections?token={token}")),
            Request::get(&format!("/no/such/path?token={token}")),
            Request::get(&format!("/ws?token={token}")),
            Request::get(&format!("/api/v1/events?limit=x&token={token}")),
            Request::new("PUT", &format!("/metrics?token={token}")),
            Request::publish("{").header("Idempotency-Key", "a b"),
            Request::publish(r#"{"type":"a"}"#),
        ] {
            said += &format!("{:?}", request.bearer(token).send(&server).await);
        }
        let offer = format!("Sec-WebSocket-Protocol: stoat.v1, bearer.{token}\r\n");
        said += &format!("{:?}", handshake(&server, "/ws", &offer).await);
        let query = format!("/ws?last_event_id=earliest&topics=*&token={token}");
        said += &format!("{:?}", handshake(&server, &query, "").await);
    }
    let target = format!("/ws?token={READER}");
    let _open = Client::connect(&server, &target).await;
    for target in ["/api/v1/connections", "/metrics"] {
        let response = Request::get(target).bearer(BOSS).send(&server).await;
        said += &response.text();
    }
    server.terminate();
    assert!(server.exit().await.success());

    assert!(said.contains("connected_since") && said.contains("http_requests_total"));
    assert!(!said.contains(SECRET_PART), "{said}");
    let log = server.log();
    assert!(log.contains("answered") && log.contains("/ws"), "{log}");
    assert!(!log.contains(SECRET_PART), "{log}");
    assert!(server.more_output().is_empty());
}

#[tokio::test]
async fn check_config_shows_names_and_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stoat.toml");
    std::fs::write(&path, tokens()).expect("a file");
    let shown = run(&["check-config", "--config", path.to_str().expect("text")]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for expected in ["\"boss\"", "\"team.a.*\"", "\"********\""] {
        assert!(shown.stdout.contains(expected), "{shown:?}");
    }
    assert!(!format!("{shown:?}").contains(SECRET_PART), "{shown:?}");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token_or_consent() {
    let listen = ["--listen", "0.0.0.0:0"];
    let refusal = run(&listen).await;
    assert_eq!(refusal.code, Some(2), "{refusal:?}");
    assert!(refusal.stderr.contains("--allow-anonymous"), "{refusal:?}");

    let consent = Setup::default().args(listen).args(["--allow-anonymous"]);
    assert_ne!(consent.start().address().port(), 0);
    // Consent is not needed with tokens, and changes nothing about them.
    for args in [&[][..], &["--allow-anonymous"]] {
        let server = setup().args(listen).args(args).start();
        let address = ([127, 0, 0, 1], server.address().port()).into();
        refused(&Request::get("/metrics").send_to(address).await, 401);
    }
    let jwt = json!({ "algorithm": "ES256", "public_key_file": key_file("es256.pub.pem") });
    let server = Setup::default()
        .args(listen)
        .env("STOAT_JWT", &jwt.to_string());
    assert_ne!(server.start().address().port(), 0);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_token() {
    let server = setup().start();
    let keyed = |token: &str, body: &str| {
        Request::publish(body)
            .header("Idempotency-Key", "k")
            .bearer(token)
    };
    let first = keyed(BOSS, r#"{"type":"a"}"#).send(&server).await;
    let other = keyed(WRITER, r#"{"type":"b"}"#).send(&server).await;
    let again = keyed(BOSS, r#"{"type":"a"}"#).send(&server).await;

    assert_eq!((first.status, other.status, again.status), (201, 201, 201));
    assert_eq!(other.header("idempotency-replayed"), None);
    assert_ne!(other.json()["event_id"], first.json()["event_id"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text(), first.text());
    keyed(BOSS, r#"{"type":"b"}"#)
        .send(&server)
        .await
        .problem(422);
}

#[tokio::test]
async fn the_commands_send_a_token() {
    let server = setup().start();
    let url = server.url();
    let publish = ["publish", "done", "--url", &url];
    let published = run_with(&publish, &[("STOAT_TOKEN", WRITER)], "").await;
    assert_eq!(published.code, Some(0), "{published:?}");
    let tail = [
        "tail", &url, "--since", "earliest", "--count", "1", "--token", READER,
    ];
    let seen = run(&tail).await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert!(seen.stdout.contains("\"done\""), "{seen:?}");

    for env in [&[][..], &[("STOAT_TOKEN", READER)]] {
        let refused = run_with(&publish, env, "").await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("token"), "{refused:?}");
        assert!(!refused.stderr.contains(SECRET_PART), "{refused:?}");
    }
}

#[tokio::test]
async fn the_operator_sees_and_closes_connections() {
    let server = setup().start();
    let mut client = server.client_as(READER, "/ws").await;
    let list = Request::get("/api/v1/connections").bearer(BOSS);
    let id = list.send(&server).await.json()["connections"][0]["id"].clone();
    let id = id.as_str().expect("an ID");
    let close = Request::new("DELETE", &format!("/api/v1/connections/{id}"));

    refused(&close.clone().bearer(READER).send(&server).await, 403);
    assert_eq!(close.bearer(BOSS).send(&server).await.status, 204);

    let (_, frame) = client.closed().await;
    assert_eq!(frame.map(|frame| frame.code.into()), Some(1008));
    eventually("the connection is gone", async || {
        let listed = list.send(&server).await.json();
        (listed["count"] == 0).then_some(())
    })
    .await;
}
