//! The kinds of value that say who may enter: tokens, JSON Web Tokens, networks of proxies.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use stoat_events::TopicPattern;
use toml::{Table, Value};

use super::kind::{Kind, Raw, Shape};
use super::show::MASK;
use super::text::shorten;
use crate::access::{Jwt, JwtAlgorithm, JwtSettings, KeyFile, Right, Rights, Token};

/// Most tokens in the list.
const MOST_TOKENS: usize = 10_000;

/// Most networks in the list: each address of a forwarding header is compared with all of them.
const MOST_NETWORKS: usize = 1000;

/// A list of tokens. No error quotes one.
pub(super) struct Tokens;

impl Kind for Tokens {
    type Value = Vec<Token>;

    fn parse(&self, raw: Raw<'_>) -> Result<Vec<Token>, String> {
        let expected = "a list of tables such as {name = \"ci\", token = \"…\", rights = [\"publish\"], topics = [\"*\"]}";
        let Some(value) = read(raw, expected)? else {
            return Ok(Vec::new());
        };
        let tables = value.as_array().ok_or(expected)?;
        if tables.len() > MOST_TOKENS {
            return Err(format!("at most {MOST_TOKENS} tokens"));
        }
        let mut tokens = Vec::with_capacity(tables.len());
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        for (index, table) in tables.iter().enumerate() {
            let number = index + 1;
            let table = table.as_table().ok_or(expected)?;
            let token =
                token(table).map_err(|why| format!("{expected}; in token {number}, {why}"))?;
            for (key, is_new) in [
                ("name", names.insert(token.name().to_owned())),
                ("token", digests.insert(token.digest())),
            ] {
                if !is_new {
                    return Err(format!(
                        "tokens that differ; `{key}` of token {number} is that of one before it"
                    ));
                }
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn show(&self, tokens: &Vec<Token>) -> Value {
        let show = |token: &Token| {
            let rights = token.rights().iter().map(Right::as_str);
            let topics = token.topics().iter().map(TopicPattern::as_str);
            Value::Table(Table::from_iter([
                ("name".to_owned(), Value::from(token.name())),
                ("token".to_owned(), Value::from(MASK)),
                ("rights".to_owned(), rights.collect::<Vec<_>>().into()),
                ("topics".to_owned(), topics.collect::<Vec<_>>().into()),
            ]))
        };
        Value::Array(tokens.iter().map(show).collect())
    }

    fn value_name(&self) -> &'static str {
        "JSON"
    }
}

fn token(table: &Table) -> Result<Token, String> {
    refuse_unknown(table, &["name", "token", "rights", "topics"])?;
    let rights = table.get("rights").ok_or("`rights` is missing")?;
    let rights: Rights = texts(rights, "rights")?
        .into_iter()
        .map(|name| {
            let expected = "`rights` may have publish, subscribe and admin";
            Right::parse(name).ok_or_else(|| format!("{expected}, not \"{}\"", shorten(name)))
        })
        .collect::<Result<_, _>>()?;
    let topics = match table.get("topics") {
        None => vec!["*"],
        Some(topics) => texts(topics, "topics")?,
    };
    let topics = topics
        .into_iter()
        .map(|pattern| TopicPattern::parse(pattern).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let (name, token) = (text(table, "name")?, text(table, "token")?);
    let name = name.ok_or("`name` is missing")?;
    Token::new(name, token.ok_or("`token` is missing")?, rights, topics)
}

/// How JSON Web Tokens are checked; the files with the keys are read with it.
pub(super) struct Jwts;

impl Kind for Jwts {
    type Value = Option<Jwt>;

    fn parse(&self, raw: Raw<'_>) -> Result<Option<Jwt>, String> {
        let expected = "a table such as {algorithm = \"ES256\", public_key_file = \"key.pem\", issuer = \"…\", audience = \"…\"}";
        let Some(value) = read(raw, expected)? else {
            return Ok(None);
        };
        let table = value.as_table().ok_or(expected)?;
        let settings = jwt(table).map_err(|why| format!("{expected}; but {why}"))?;
        Jwt::load(settings)
            .map(Some)
            .map_err(|why| format!("good keys; {why}"))
    }

    fn show(&self, jwt: &Option<Jwt>) -> Value {
        let Some(settings) = jwt.as_ref().map(Jwt::settings) else {
            // Reads back as none; TOML has no other word for it.
            return Value::from("");
        };
        let file = &settings.key_file;
        let mut table = Table::from_iter([
            (
                "algorithm".to_owned(),
                Value::from(settings.algorithm.as_str()),
            ),
            (
                file.key().to_owned(),
                Value::from(&*file.path().to_string_lossy()),
            ),
        ]);
        for (key, text) in [
            ("issuer", &settings.issuer),
            ("audience", &settings.audience),
        ] {
            if let Some(text) = text {
                table.insert(key.to_owned(), Value::from(&**text));
            }
        }
        Value::Table(table)
    }

    fn value_name(&self) -> &'static str {
        "JSON"
    }
}

fn jwt(table: &Table) -> Result<JwtSettings, String> {
    let files = [
        ("secret_file", KeyFile::Secret as fn(_) -> _),
        ("public_key_file", KeyFile::PublicKey),
        ("jwks_file", KeyFile::Jwks),
    ];
    let others = ["algorithm", "issuer", "audience"].into_iter();
    let known: Vec<&str> = others.chain(files.map(|(key, _)| key)).collect();
    refuse_unknown(table, &known)?;

    let name = text(table, "algorithm")?.ok_or("`algorithm` is missing")?;
    let algorithm = JwtAlgorithm::parse(name).ok_or_else(|| {
        let name = shorten(name);
        format!("`algorithm` must be HS256, RS256, ES256 or EdDSA, not \"{name}\"")
    })?;
    let mut key_files = Vec::new();
    for (key, file) in files {
        if let Some(path) = text(table, key)? {
            key_files.push(file(path.into()));
        }
    }
    let one = "it needs one of `secret_file`, `public_key_file` and `jwks_file`";
    let [key_file] = <[KeyFile; 1]>::try_from(key_files).map_err(|_| one)?;
    let owned = |key| Ok::<_, String>(text(table, key)?.map(str::to_owned));
    Ok(JwtSettings {
        algorithm,
        key_file,
        issuer: owned("issuer")?,
        audience: owned("audience")?,
    })
}

/// A list of networks; an address alone is a network of one.
pub(super) struct Networks;

impl Kind for Networks {
    type Value = Vec<IpNet>;

    fn parse(&self, raw: Raw<'_>) -> Result<Vec<IpNet>, String> {
        let items: Option<Vec<&str>> = match raw {
            Raw::Text(text) => {
                let items = text.split(',').map(str::trim);
                Some(items.filter(|item| !item.is_empty()).collect())
            }
            Raw::File(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
            Raw::File(_) => None,
        };
        let items = items.ok_or("a list of texts such as [\"10.0.0.0/8\"]")?;
        if items.len() > MOST_NETWORKS {
            return Err(format!("at most {MOST_NETWORKS} networks"));
        }
        let network = |item: &str| {
            let network = item.parse::<IpNet>().ok();
            let network = network.or_else(|| Some(item.parse::<IpAddr>().ok()?.into()));
            network.map(|network| network.trunc()).ok_or_else(|| {
                let item = shorten(item);
                format!(
                    "networks such as 10.0.0.0/8 or fd00::/8, or addresses, but \"{item}\" is none"
                )
            })
        };
        items.into_iter().map(network).collect()
    }

    fn show(&self, networks: &Vec<IpNet>) -> Value {
        let text = |network: &IpNet| Value::String(network.to_string());
        Value::Array(networks.iter().map(text).collect())
    }

    fn value_name(&self) -> &'static str {
        "CIDR,..."
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}

/// The value itself from the file, or JSON text from elsewhere; nothing for an empty text.
///
/// The error quotes nothing of it.
fn read(raw: Raw<'_>, expected: &str) -> Result<Option<Value>, String> {
    match raw {
        Raw::File(Value::String(text)) if text.is_empty() => Ok(None),
        Raw::File(value) => Ok(Some(value.clone())),
        Raw::Text(text) if text.trim().is_empty() => Ok(None),
        Raw::Text(text) => serde_json::from_str(text).map(Some).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("{expected}, in JSON; it is no such JSON at line {line}, column {column}")
        }),
    }
}

fn refuse_unknown(table: &Table, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("the key `{}` is unknown", shorten(key))),
        None => Ok(()),
    }
}

fn text<'a>(table: &'a Table, key: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = table.get(key) else {
        return Ok(None);
    };
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(Some)
        .ok_or_else(|| format!("`{key}` must be a text, and not empty"))
}

fn texts<'a>(value: &'a Value, key: &str) -> Result<Vec<&'a str>, String> {
    let texts = value
        .as_array()
        .and_then(|list| list.iter().map(Value::as_str).collect());
    texts.ok_or_else(|| format!("`{key}` must be a list of texts"))
}
