//! What is taken for a valid token, and what is not.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::jwt::{Claims, Refusal};
use super::*;

macro_rules! pair {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../tests/keys/", $name, ".pem")),
            include_bytes!(concat!("../../tests/keys/", $name, ".pub.pem")),
        )
    };
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const RSA: (&[u8], &[u8]) = pair!("rs256");
const EC: (&[u8], &[u8]) = pair!("es256");
const ED: (&[u8], &[u8]) = pair!("eddsa");
/// When the tests take place.
const NOW: u64 = 1_800_000_000;

/// A checker that reads its keys from a file with this content.
fn load(
    algorithm: JwtAlgorithm,
    file: fn(PathBuf) -> KeyFile,
    content: &[u8],
) -> Result<Jwt, String> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, content).unwrap();
    Jwt::load(JwtSettings {
        algorithm,
        key_file: file(path),
        issuer: Some("https://issuer.example".to_owned()),
        audience: Some("stoat".to_owned()),
    })
}

fn hs256() -> Jwt {
    load(JwtAlgorithm::Hs256, KeyFile::Secret, SECRET).unwrap()
}

/// Valid claims with these laid over; null takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "stoat", "exp": NOW + 60,
        "stoat_rights": ["subscribe"],
    });
    for (name, value) in changes.as_object().unwrap() {
        let all = claims.as_object_mut().unwrap();
        all.insert(name.clone(), value.clone());
        all.retain(|_, value| !value.is_null());
    }
    claims
}

fn sign(algorithm: Algorithm, claims: &Value, key: &EncodingKey) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

fn verify(jwt: &Jwt, token: &str) -> Result<Claims, Refusal> {
    jwt.verify(token, UNIX_EPOCH + Duration::from_secs(NOW))
}

/// What becomes of claims with these changes.
fn verdict(changes: Value) -> Result<Claims, Refusal> {
    let key = EncodingKey::from_secret(SECRET);
    verify(&hs256(), &sign(Algorithm::HS256, &claims(changes), &key))
}

#[test]
fn every_algorithm_takes_its_own_tokens_and_no_others() {
    let rsa = EncodingKey::from_rsa_pem(RSA.0).unwrap();
    let tokens = [
        (Algorithm::HS256, EncodingKey::from_secret(SECRET)),
        (Algorithm::RS256, rsa.clone()),
        (Algorithm::ES256, EncodingKey::from_ec_pem(EC.0).unwrap()),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED.0).unwrap()),
        (Algorithm::RS512, rsa.clone()),
        (Algorithm::PS256, rsa),
        (Algorithm::HS384, EncodingKey::from_secret(SECRET)),
    ]
    .map(|(algorithm, key)| sign(algorithm, &claims(json!({})), &key));
    let checkers = [
        hs256(),
        load(JwtAlgorithm::Rs256, KeyFile::PublicKey, RSA.1).unwrap(),
        load(JwtAlgorithm::Es256, KeyFile::PublicKey, EC.1).unwrap(),
        load(JwtAlgorithm::EdDsa, KeyFile::PublicKey, ED.1).unwrap(),
    ];
    for (own, checker) in checkers.iter().enumerate() {
        for (number, token) in tokens.iter().enumerate() {
            let verdict = verify(checker, token);
            assert_eq!(verdict.is_ok(), own == number, "{checker:?} {token}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret_and_no_signature_is_none() {
    for (algorithm, public) in [(JwtAlgorithm::Rs256, RSA.1), (JwtAlgorithm::Es256, EC.1)] {
        let checker = load(algorithm, KeyFile::PublicKey, public).unwrap();
        let trimmed = public.strip_suffix(b"\n").unwrap();
        for secret in [public, trimmed] {
            let key = EncodingKey::from_secret(secret);
            let token = sign(Algorithm::HS256, &claims(json!({})), &key);
            assert_eq!(verify(&checker, &token).unwrap_err(), Refusal::Invalid);
        }
    }
    let key = EncodingKey::from_secret(SECRET);
    let token = sign(Algorithm::HS256, &claims(json!({})), &key);
    let payload = token.split('.').nth(1).unwrap();
    // {"alg":"none"} and {"alg":"None"}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0"] {
        for signature in ["", token.rsplit('.').next().unwrap()] {
            let unsigned = format!("{header}.{payload}.{signature}");
            assert_eq!(verify(&hs256(), &unsigned).unwrap_err(), Refusal::Invalid);
        }
    }
    let unknown_extension = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..Header::new(Algorithm::HS256)
    };
    let token = encode(&unknown_extension, &claims(json!({})), &key).unwrap();
    assert_eq!(verify(&hs256(), &token).unwrap_err(), Refusal::Invalid);
}

#[test]
fn who_it_is_for_and_when() {
    let found = verdict(json!({})).unwrap();
    assert_eq!(found.valid_for, Duration::from_secs(60));
    for (changes, refusal) in [
        (json!({"iss": "https://other.example"}), Refusal::Invalid),
        (json!({"iss": null}), Refusal::Invalid),
        (json!({"aud": "other"}), Refusal::Invalid),
        (json!({"aud": ["other", "another"]}), Refusal::Invalid),
        (json!({"aud": null}), Refusal::Invalid),
        (json!({"exp": null}), Refusal::Invalid),
        (json!({"exp": "soon"}), Refusal::Invalid),
        (json!({"exp": -5}), Refusal::Invalid),
        (json!({"exp": NOW}), Refusal::Expired),
        (json!({"exp": NOW - 1}), Refusal::Expired),
        (json!({"nbf": NOW + 1}), Refusal::NotYetValid),
    ] {
        assert_eq!(verdict(changes.clone()).unwrap_err(), refusal, "{changes}");
    }
    assert!(verdict(json!({"nbf": "now"})).is_err());
    for changes in [
        json!({"aud": ["other", "stoat"]}),
        json!({"nbf": NOW}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"exp": 1e18}),
    ] {
        assert!(verdict(changes.clone()).is_ok(), "{changes}");
    }
}

#[test]
fn issuer_and_audience_are_looked_at_where_they_are_set() {
    let mut settings = hs256().settings().clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    settings.key_file = KeyFile::Secret(path);
    (settings.issuer, settings.audience) = (None, None);
    let checker = Jwt::load(settings).unwrap();
    let key = EncodingKey::from_secret(SECRET);
    for changes in [json!({"iss": null, "aud": null}), json!({"aud": "other"})] {
        let token = sign(Algorithm::HS256, &claims(changes), &key);
        assert!(verify(&checker, &token).is_ok());
    }
}

#[test]
fn rights_and_topics_are_never_more_than_they_say() {
    let found = verdict(json!({"stoat_rights": ["publish", "fly"], "stoat_topics": ["a.*"]}));
    let found = found.unwrap();
    assert_eq!(found.rights, [Right::Publish].into_iter().collect());
    assert!(found.scope.allows(Some("a.b")) && !found.scope.allows(None));
    let none = verdict(json!({"stoat_rights": null})).unwrap();
    assert_eq!(none.rights, Rights::default());
    assert!(none.scope.is_all());
    assert!(
        !verdict(json!({"stoat_topics": []}))
            .unwrap()
            .scope
            .allows(Some("a"))
    );

    let long = vec!["a"; Token::MAX_TOPICS + 1];
    for changes in [
        json!({"stoat_rights": "publish"}),
        json!({"stoat_rights": [1]}),
        json!({"stoat_topics": "a"}),
        json!({"stoat_topics": ["A*"]}),
        json!({"stoat_topics": {"a": 1}}),
        json!({ "stoat_topics": long }),
    ] {
        let refusal = verdict(changes.clone()).unwrap_err();
        assert!(matches!(refusal, Refusal::MalformedClaim(_)), "{changes}");
    }
    // Not the same as no claim.
    let mut null = claims(json!({}));
    null["stoat_topics"] = Value::Null;
    let token = sign(Algorithm::HS256, &null, &EncodingKey::from_secret(SECRET));
    assert!(verify(&hs256(), &token).is_err());
}

#[test]
fn a_token_has_one_name_whatever_its_signature() {
    // Each signing with ECDSA gives another signature.
    let checker = load(JwtAlgorithm::Es256, KeyFile::PublicKey, EC.1).unwrap();
    let key = EncodingKey::from_ec_pem(EC.0).unwrap();
    let token = |changes| sign(Algorithm::ES256, &claims(changes), &key);
    let digest = |token: &str| verify(&checker, token).unwrap().digest;
    let (one, again) = (token(json!({})), token(json!({})));
    assert_eq!(digest(&one), digest(&again));
    assert_ne!(digest(&one), digest(&token(json!({"jti": "2"}))));
}

#[test]
fn a_set_of_keys_is_searched_by_name_and_kind() {
    let jwk = |pem: &[u8], id: &str| {
        let key = DecodingKey::from_ec_pem(pem).unwrap();
        let mut jwk = Jwk::from_decoding_key(&key, None).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        serde_json::to_value(jwk).unwrap()
    };
    let rsa = DecodingKey::from_rsa_pem(RSA.1).unwrap();
    let rsa = serde_json::to_value(Jwk::from_decoding_key(&rsa, None).unwrap()).unwrap();
    let set = json!({ "keys": [rsa, {"kty": "future"}, jwk(EC.1, "ours")] }).to_string();
    let checker = load(JwtAlgorithm::Es256, KeyFile::Jwks, set.as_bytes()).unwrap();
    let key = EncodingKey::from_ec_pem(EC.0).unwrap();
    let with_id = |id: Option<&str>| {
        let header = Header {
            kid: id.map(str::to_owned),
            ..Header::new(Algorithm::ES256)
        };
        let token = encode(&header, &claims(json!({})), &key).unwrap();
        verify(&checker, &token).is_ok()
    };
    assert!(with_id(Some("ours")) && with_id(None));
    assert!(!with_id(Some("theirs")));
    let wrong_kind = EncodingKey::from_rsa_pem(RSA.0).unwrap();
    let token = sign(Algorithm::RS256, &claims(json!({})), &wrong_kind);
    assert!(verify(&checker, &token).is_err());

    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"!","y":"!"}]}"#,
    ] {
        assert!(
            load(JwtAlgorithm::Es256, KeyFile::Jwks, bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_file_without_a_fitting_key_is_refused_and_not_quoted() {
    let rsa_1024 = include_bytes!("../../tests/keys/rsa1024.pub.pem");
    let p384 = include_bytes!("../../tests/keys/p384.pub.pem");
    for (algorithm, file, content) in [
        (
            JwtAlgorithm::Hs256,
            KeyFile::Secret as fn(_) -> _,
            &b"hunter2"[..],
        ),
        (JwtAlgorithm::Hs256, KeyFile::Secret, RSA.1),
        (JwtAlgorithm::Hs256, KeyFile::PublicKey, RSA.1),
        (JwtAlgorithm::Rs256, KeyFile::Secret, SECRET),
        (JwtAlgorithm::Rs256, KeyFile::PublicKey, b"hunter2"),
        (JwtAlgorithm::Rs256, KeyFile::PublicKey, EC.1),
        (JwtAlgorithm::Rs256, KeyFile::PublicKey, RSA.0),
        (JwtAlgorithm::Rs256, KeyFile::PublicKey, rsa_1024),
        (JwtAlgorithm::Es256, KeyFile::PublicKey, RSA.1),
        (JwtAlgorithm::Es256, KeyFile::PublicKey, EC.0),
        (JwtAlgorithm::Es256, KeyFile::PublicKey, p384),
        (JwtAlgorithm::EdDsa, KeyFile::PublicKey, EC.1),
        (JwtAlgorithm::EdDsa, KeyFile::PublicKey, ED.0),
        (JwtAlgorithm::EdDsa, KeyFile::Jwks, b"{\"keys\": hunter2}"),
    ] {
        let error = load(algorithm, file, content).unwrap_err();
        assert!(
            error.contains("/key): ") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(!error.contains("BEGIN PRIVATE"), "{error}");
    }
    let missing = JwtSettings {
        key_file: KeyFile::Secret("/no/such/file".into()),
        ..hs256().settings().clone()
    };
    assert!(Jwt::load(missing).unwrap_err().contains("/no/such/file"));
}

#[test]
fn a_line_end_is_no_part_of_a_secret_and_a_short_one_is_told_of() {
    let short = b"0123456789abcdef\r\n";
    let checker = load(JwtAlgorithm::Hs256, KeyFile::Secret, short).unwrap();
    assert!(checker.has_weak_secret() && !hs256().has_weak_secret());
    let key = EncodingKey::from_secret(&short[..16]);
    let token = sign(Algorithm::HS256, &claims(json!({})), &key);
    assert!(verify(&checker, &token).is_ok());
    assert!(checker.verify(&token, SystemTime::UNIX_EPOCH).is_ok());
    assert!(!format!("{checker:?}").contains("0123456789"));
}

proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in "\\PC{0,60}", at in 0usize..300, byte in 33u8..127) {
        prop_assert!(verify(&hs256(), &text).is_err());
        let key = EncodingKey::from_secret(SECRET);
        let good = sign(Algorithm::HS256, &claims(json!({})), &key);
        let mut changed = good.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(verify(&hs256(), &changed).is_ok(), changed == good);
    }
}
