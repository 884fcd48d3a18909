//! Tokens of every kind for the tests, and servers that know them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::http::{Request, Response};
use crate::server::{Server, Setup};
use crate::{binary, ws};

/// May do everything.
pub const BOSS: &str = "boss-5f3a9c77e1d04b62";
/// May publish.
pub const WRITER: &str = "writer-5f3a9c77e1d04b62";
/// May subscribe.
pub const READER: &str = "reader-5f3a9c77e1d04b62";
/// May publish and subscribe to topics below `team.a`, and to `news`.
pub const TEAM: &str = "team-5f3a9c77e1d04b62";
/// What all of these have in common, and nothing else.
pub const SECRET_PART: &str = "5f3a9c77e1d04b62";

/// A server with all of these tokens.
pub fn setup() -> Setup {
    Setup::default().file(&tokens())
}

/// The settings of [`setup`].
pub fn tokens() -> String {
    let table = |name: &str, token: &str, rest: &str| {
        format!("[[tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\n{rest}\n")
    };
    [
        table(
            "boss",
            BOSS,
            "rights = [\"publish\", \"subscribe\", \"admin\"]",
        ),
        table("writer", WRITER, "rights = [\"publish\"]"),
        table("reader", READER, "rights = [\"subscribe\"]"),
        table(
            "team",
            TEAM,
            "rights = [\"publish\", \"subscribe\"]\ntopics = [\"team.a.*\", \"news\"]",
        ),
    ]
    .concat()
}

impl Request {
    /// Adds a token as `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }
}

impl Server {
    /// Publishes with a token, and returns the event's ID.
    pub async fn publish_as(&self, token: &str, body: &str) -> String {
        let response = Request::publish(body).bearer(token).send(self).await;
        assert_eq!(response.status, 201, "{response:?}");
        let id = response.json()["event_id"].as_str().map(str::to_owned);
        id.expect("an event ID")
    }

    /// A WebSocket client with a token.
    pub async fn client_as(&self, token: &str, target: &str) -> ws::Client {
        let header = format!("Bearer {token}");
        let headers = [("Authorization", header.as_str())];
        ws::Client::connect_with(self.address(), target, &headers).await
    }
}

/// Checks what all refusals of this kind have in common; returns the detail.
pub fn refused(response: &Response, status: u16) -> String {
    let problem = response.problem(status);
    assert_eq!(response.header("x-stoat-cursor"), None, "{response:?}");
    let challenge = (status == 401).then_some("Bearer");
    assert_eq!(response.header("www-authenticate"), challenge);
    assert!(!format!("{response:?}").contains(SECRET_PART));
    problem["detail"].as_str().expect("a detail").to_owned()
}

/// One of the keys for tests of JSON Web Tokens: `rs256.pem`, `rs256.pub.pem` and so on.
pub fn key_file(name: &str) -> PathBuf {
    binary::workspace().join("crates/app/tests/keys").join(name)
}

/// A token signed with the key `rs256.pem`.
pub fn rs256(claims: &Value) -> String {
    let pem = std::fs::read(key_file("rs256.pem")).expect("a key");
    let key = EncodingKey::from_rsa_pem(&pem).expect("a key");
    encode(&Header::new(Algorithm::RS256), claims, &key).expect("a token")
}

/// The time this far from now, as claims have it.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now: Duration = now.expect("a clock that is set");
    i64::try_from(now.as_secs()).expect("a small number") + seconds
}

/// Claims that are good for an hour, for the issuer and audience of the tests, with these added.
pub fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "stoat", "exp": in_seconds(3600),
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    claims.as_object_mut().expect("an object").extend(more);
    claims
}
