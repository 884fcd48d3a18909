//! JSON Web Tokens (RFC 7519): whose they are is checked with one algorithm and keys from a file.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::{Map, Value};
use stoat_events::{Scope, TopicPattern};

use super::{Digest, Right, Rights, Token};

/// The largest file with keys, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The most keys that are used of a set: a token that names none of them is tried with each.
const MOST_KEYS: usize = 32;
/// The shortest secret, in bytes; RFC 7518 section 3.2 asks for [`STRONG_SECRET`].
const SHORTEST_SECRET: usize = 16;
const STRONG_SECRET: usize = 32;
/// An RSA modulus of 2048 bits in base64.
const SHORTEST_MODULUS: usize = 256 * 4 / 3;

/// The algorithms that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: whoever can check a token can make one.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Its name in settings and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn wire(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// The setting `jwt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The one algorithm that is accepted.
    pub algorithm: JwtAlgorithm,
    /// Where the keys are.
    pub key_file: KeyFile,
    /// What `iss` must be; not looked at where nothing is set.
    pub issuer: Option<String>,
    /// What `aud` must be or have; not looked at where nothing is set.
    pub audience: Option<String>,
}

/// The file with the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// A shared secret as it is, but for a line end at its end.
    Secret(PathBuf),
    /// One public key in PEM.
    PublicKey(PathBuf),
    /// A set of keys (RFC 7517 section 5).
    Jwks(PathBuf),
}

impl KeyFile {
    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Secret(path) | Self::PublicKey(path) | Self::Jwks(path) => path,
        }
    }

    /// The key of the setting that names it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret_file",
            Self::PublicKey(_) => "public_key_file",
            Self::Jwks(_) => "jwks_file",
        }
    }
}

/// Checks JSON Web Tokens. Compares and prints as its settings; the keys are not shown.
#[derive(Clone)]
pub struct Jwt {
    settings: JwtSettings,
    keys: Arc<[Key]>,
    validation: Arc<Validation>,
    has_weak_secret: bool,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// What a valid token says.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) rights: Rights,
    pub(crate) scope: Scope,
    /// For how long it is still valid.
    pub(crate) valid_for: Duration,
    /// Tells it from other tokens, whatever becomes of its signature's spelling.
    pub(crate) digest: Digest,
}

/// Why a token is refused; anything but `Invalid` is told of authentic tokens only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no token, is not signed by a known key, or is for somebody else.
    Invalid,
    Expired,
    NotYetValid,
    /// A claim has not the form that it must have.
    MalformedClaim(&'static str),
}

impl Jwt {
    /// Reads the keys.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key that fits the algorithm. Keys are never quoted.
    pub fn load(settings: JwtSettings) -> Result<Self, String> {
        let keys = load_keys(settings.algorithm, &settings.key_file).map_err(|why| {
            let path = settings.key_file.path().display();
            format!("`{}` ({path}): {why}", settings.key_file.key())
        })?;
        let mut validation = Validation::new(settings.algorithm.wire());
        // Times are checked here, against the clock that is passed in.
        validation.validate_exp = false;
        validation.validate_aud = settings.audience.is_some();
        validation.aud = settings.audience.clone().map(one);
        validation.iss = settings.issuer.clone().map(one);
        let required = ["iss", "aud"].into_iter();
        let asked = [settings.issuer.is_some(), settings.audience.is_some()];
        let required = required
            .zip(asked)
            .filter_map(|(claim, on)| on.then_some(claim));
        validation.set_required_spec_claims(&required.chain(["exp"]).collect::<Vec<_>>());
        let is_weak = |key: &Key| {
            key.key.family() == jsonwebtoken::AlgorithmFamily::Hmac
                && key
                    .key
                    .try_get_as_bytes()
                    .is_ok_and(|secret| secret.len() < STRONG_SECRET)
        };
        Ok(Self {
            has_weak_secret: keys.iter().any(is_weak),
            keys: keys.into(),
            validation: Arc::new(validation),
            settings,
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &JwtSettings {
        &self.settings
    }

    /// Whether the secret is shorter than the digest, which RFC 7518 section 3.2 forbids.
    pub fn has_weak_secret(&self) -> bool {
        self.has_weak_secret
    }

    pub(crate) fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Invalid)?;
        // An extension that has to be understood, and is not (RFC 7515 section 4.1.11).
        if header.alg != self.settings.algorithm.wire() || header.crit.is_some() {
            return Err(Refusal::Invalid);
        }
        let fits = |key: &&Key| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let mut claims = None;
        for key in self.keys.iter().filter(fits) {
            match decode(token, &key.key, &self.validation) {
                Ok(TokenData { claims: found, .. }) => {
                    claims = Some(found);
                    break;
                }
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return Err(Refusal::Invalid),
            }
        }
        let claims: Map<String, Value> = claims.ok_or(Refusal::Invalid)?;
        let valid_for = valid_for(&claims, now)?;
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        Ok(Claims {
            rights: rights(claims.get("stoat_rights"))?,
            scope: scope(claims.get("stoat_topics"))?,
            valid_for,
            digest: Digest::of(signed),
        })
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl PartialEq for Jwt {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

fn one(text: String) -> HashSet<String> {
    [text].into()
}

fn load_keys(algorithm: JwtAlgorithm, file: &KeyFile) -> Result<Vec<Key>, String> {
    match (file, algorithm) {
        (KeyFile::Secret(_), JwtAlgorithm::Hs256)
        | (
            KeyFile::PublicKey(_),
            JwtAlgorithm::Rs256 | JwtAlgorithm::Es256 | JwtAlgorithm::EdDsa,
        )
        | (KeyFile::Jwks(_), _) => {}
        (KeyFile::Secret(_), _) => return Err("a secret is for HS256 only".to_owned()),
        (KeyFile::PublicKey(_), _) => {
            return Err("HS256 needs a secret, not a public key".to_owned());
        }
    }
    let content = read(file.path())?;
    let alone = |key| vec![Key { id: None, key }];
    match file {
        KeyFile::Secret(_) => secret(&content).map(alone),
        KeyFile::PublicKey(_) => public_key(algorithm, &content).map(alone),
        KeyFile::Jwks(_) => key_set(algorithm, &content),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;

    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut content)
        .map_err(|error| error.to_string())?;
    if content.len() as u64 > LARGEST_FILE {
        return Err("it is larger than 1 MiB".to_owned());
    }
    Ok(content)
}

fn secret(content: &[u8]) -> Result<DecodingKey, String> {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    if content.starts_with(b"-----BEGIN ") {
        // With a public key for a secret, everybody could make tokens.
        return Err("it holds a key in PEM, which is no secret to share".to_owned());
    }
    if content.len() < SHORTEST_SECRET {
        return Err(format!(
            "the secret has fewer than {SHORTEST_SECRET} bytes; {STRONG_SECRET} or more are right"
        ));
    }
    Ok(DecodingKey::from_secret(content))
}

fn public_key(algorithm: JwtAlgorithm, content: &[u8]) -> Result<DecodingKey, String> {
    let key = match algorithm {
        JwtAlgorithm::Es256 => DecodingKey::from_ec_pem(content),
        JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(content),
        JwtAlgorithm::Rs256 | JwtAlgorithm::Hs256 => DecodingKey::from_rsa_pem(content),
    };
    let expected = || {
        let name = algorithm.as_str();
        format!("it is no public key in PEM (`-----BEGIN PUBLIC KEY-----`) for {name}")
    };
    let key = key.map_err(|_| expected())?;
    let parts = Jwk::from_decoding_key(&key, None).map_err(|_| expected())?;
    if !is_for(algorithm, &parts.algorithm) {
        return Err(expected());
    }
    check_strength(&parts.algorithm)?;
    Ok(key)
}

/// The keys of a set that are for the algorithm; a set may hold others.
fn key_set(algorithm: JwtAlgorithm, content: &[u8]) -> Result<Vec<Key>, String> {
    // The error's own text might quote a key.
    let set: JwkSet = serde_json::from_slice(content)
        .map_err(|error| format!("it is no set of keys in JSON: line {}", error.line()))?;
    let is_usable = |jwk: &&Jwk| {
        let named = jwk.common.key_algorithm.as_ref();
        is_for(algorithm, &jwk.algorithm)
            && jwk.common.public_key_use != Some(PublicKeyUse::Encryption)
            && named.is_none_or(|named| *named == algorithm.wire().into())
    };
    let usable: Vec<&Jwk> = set.keys.iter().filter(is_usable).collect();
    if usable.is_empty() || usable.len() > MOST_KEYS {
        let (count, name) = (usable.len(), algorithm.as_str());
        return Err(format!(
            "it has {count} keys for {name}; 1 to {MOST_KEYS} are right"
        ));
    }
    let key = |jwk: &Jwk| {
        check_strength(&jwk.algorithm)?;
        let key = DecodingKey::from_jwk(jwk).ok();
        let key = key.filter(|key| Jwk::from_decoding_key(key, None).is_ok());
        Ok(Key {
            id: jwk.common.key_id.clone(),
            key: key.ok_or("one of its keys is malformed")?,
        })
    };
    usable.into_iter().map(key).collect()
}

fn is_for(algorithm: JwtAlgorithm, key: &AlgorithmParameters) -> bool {
    match key {
        AlgorithmParameters::OctetKey(_) => algorithm == JwtAlgorithm::Hs256,
        AlgorithmParameters::RSA(_) => algorithm == JwtAlgorithm::Rs256,
        AlgorithmParameters::EllipticCurve(key) => {
            algorithm == JwtAlgorithm::Es256 && key.curve == EllipticCurve::P256
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            algorithm == JwtAlgorithm::EdDsa && key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    }
}

fn check_strength(key: &AlgorithmParameters) -> Result<(), String> {
    match key {
        AlgorithmParameters::RSA(key) if key.n.len() < SHORTEST_MODULUS => {
            Err("an RSA key must have 2048 bits or more".to_owned())
        }
        AlgorithmParameters::OctetKey(key) if key.value.len() * 3 / 4 < SHORTEST_SECRET => Err(
            format!("a secret must have {SHORTEST_SECRET} bytes or more"),
        ),
        _ => Ok(()),
    }
}

fn valid_for(claims: &Map<String, Value>, now: SystemTime) -> Result<Duration, Refusal> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = |claim: &'static str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => {
            let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
            let seconds = seconds.ok_or(Refusal::MalformedClaim(claim))?;
            // What does not fit is beyond all time.
            let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Ok(Some(time))
        }
    };
    if time("nbf")?.is_some_and(|from| from > now) {
        return Err(Refusal::NotYetValid);
    }
    let end = time("exp")?.ok_or(Refusal::Invalid)?;
    let left = end.saturating_sub(now);
    if left.is_zero() {
        return Err(Refusal::Expired);
    }
    Ok(left)
}

/// No claim is no right, and a right that is not known is none.
fn rights(claim: Option<&Value>) -> Result<Rights, Refusal> {
    let malformed = Refusal::MalformedClaim("stoat_rights");
    let Some(claim) = claim else {
        return Ok(Rights::default());
    };
    let names = claim.as_array().ok_or(malformed)?.iter();
    let rights: Option<Vec<Option<Right>>> = names
        .map(|name| Some(Right::parse(name.as_str()?)))
        .collect();
    Ok(rights.ok_or(malformed)?.into_iter().flatten().collect())
}

/// No claim is all topics; one that is malformed is never taken for that.
fn scope(claim: Option<&Value>) -> Result<Scope, Refusal> {
    let malformed = Refusal::MalformedClaim("stoat_topics");
    let Some(claim) = claim else {
        return Ok(Scope::all());
    };
    let patterns = claim.as_array().ok_or(malformed)?;
    if patterns.len() > Token::MAX_TOPICS {
        return Err(malformed);
    }
    let patterns = patterns.iter();
    let patterns: Option<Vec<TopicPattern>> = patterns
        .map(|pattern| TopicPattern::parse(pattern.as_str()?).ok())
        .collect();
    Ok(Scope::topics(patterns.ok_or(malformed)?))
}
