//! Tests of the settings that say who may enter.

use super::*;
use crate::access::{JwtAlgorithm, Right};

const SECRET: &str = "hunter2-hunter2-hunter2";
const JSON: &str = r#"[{"name":"ci","token":"hunter2-hunter2-hunter2","rights":["publish","admin"],"topics":["a.*"]},
    {"name":"page","token":"another-hunter2-token","rights":["subscribe"]}]"#;
const TOML: &str = "
    [[tokens]]
    name = 'ci'
    token = 'hunter2-hunter2-hunter2'
    rights = ['publish', 'admin']
    topics = ['a.*']
    [[tokens]]
    name = 'page'
    token = 'another-hunter2-token'
    rights = ['subscribe']
";

#[test]
fn tokens_are_the_same_from_everywhere_and_never_shown() {
    let file = load_file(TOML).unwrap();
    let tokens = &file.settings.tokens;
    assert_eq!((tokens[0].name(), tokens[1].name()), ("ci", "page"));
    assert!(tokens[0].rights().has(Right::Admin) && !tokens[0].rights().has(Right::Subscribe));
    assert!(tokens[0].scope().allows(Some("a.b")) && !tokens[0].scope().allows(None));
    assert!(tokens[1].scope().is_all());

    let flag = load(Flags::new().with("tokens", JSON), &[], None).unwrap();
    let variable = load(Flags::new(), &[("STOAT_TOKENS", JSON)], None).unwrap();
    for loaded in [&file, &flag, &variable] {
        assert_eq!(&loaded.settings.tokens, tokens);
        let shown = loaded.to_toml();
        let expected = r#"tokens = [{ name = "ci", rights = ["publish", "admin"], token = "********", topics = ["a.*"] }, "#;
        assert!(shown.contains(expected), "{shown}");
        let debug = format!("{loaded:?}");
        assert!(
            !shown.contains("hunter2") && !debug.contains("hunter2"),
            "{debug}"
        );
    }
    assert!(load(Flags::new(), &[("STOAT_TOKENS", " ")], None).is_ok());
    let none = load(Flags::new(), &[], None).unwrap();
    assert_eq!(line(&none, "tokens").value, "[]");
}

#[test]
fn what_is_wrong_with_a_token_is_named_and_the_token_is_not() {
    let table = |changes: &[(&str, &str)]| {
        let mut table = vec![
            ("name", "'ci'"),
            ("token", "'hunter2-hunter2-hunter2'"),
            ("rights", "['publish']"),
        ];
        table.retain(|(key, _)| !changes.iter().any(|(changed, _)| changed == key));
        table.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let lines = table
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        format!("[[tokens]]\n{}", lines.collect::<String>())
    };
    let many = format!(
        "[{}]",
        "'hunter2',".repeat(257).to_lowercase().replace('-', "")
    );
    for (changes, named) in [
        (&[("name", "")][..], "`name` is missing"),
        (&[("token", "")], "`token` is missing"),
        (&[("rights", "")], "`rights` is missing"),
        (&[("name", "''")], "`name` must be a text, and not empty"),
        (&[("token", "'hunter2'")], "`token` must have 16 to 512"),
        (
            &[("token", "'hunter2 hunter2 hunter2'")],
            "`token` must have 16 to 512",
        ),
        (
            &[("token", "'hunter2-hunter2-hunter2ü'")],
            "`token` must have 16 to 512",
        ),
        (&[("token", "7")], "`token` must be a text"),
        (&[("rights", "'publish'")], "`rights` must be a list"),
        (&[("rights", "['fly']")], "not \"fly\""),
        (&[("topics", "'a'")], "`topics` must be a list"),
        (&[("topics", "['A']")], "\"A\""),
        (&[("topics", &many)], "at most 256"),
        (&[("right", "['publish']")], "the key `right` is unknown"),
    ] {
        let text = table(changes);
        let error = load_file(&text).unwrap_err();
        assert_eq!(error.key(), Some("tokens"), "{error}");
        let message = message(load_file(&text));
        assert!(
            message.starts_with("bad value for tokens (file /etc/stoat.toml; "),
            "{message}"
        );
        assert!(message.contains(named), "{named} in {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let twice = format!(
        "{}{}",
        table(&[]),
        table(&[("token", "'hunter2-hunter2-other'")])
    );
    assert!(message(load_file(&twice)).contains("`name` of token 2"));
    let same = format!("{}{}", table(&[]), table(&[("name", "'other'")]));
    let same = message(load_file(&same));
    assert!(
        same.contains("`token` of token 2") && !same.contains("hunter2"),
        "{same}"
    );
    for text in [
        "tokens = 'hunter2-hunter2'",
        "tokens = ['hunter2-hunter2']",
        "[tokens]\nx = 'hunter2'",
    ] {
        assert!(!message(load_file(text)).contains("hunter2"));
    }
}

#[test]
fn json_that_is_none_is_not_quoted() {
    for text in [
        "hunter2",
        "[{\"token\":\"hunter2-hunter2-hunter2\"",
        "{\"hunter2\":1}",
        "[null]",
        "[{\"name\":null,\"token\":\"hunter2\"}]",
        "[\"hunter2\"]",
    ] {
        for error in [
            message(load(Flags::new().with("tokens", text), &[], None)),
            message(load(Flags::new(), &[("STOAT_TOKENS", text)], None)),
        ] {
            assert!(error.starts_with("bad value for tokens ("), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
    let error = message(load(Flags::new().with("tokens", "[\n{},,"), &[], None));
    assert!(error.contains("at line 2, column 4"), "{error}");
}

#[test]
fn an_address_that_others_reach_is_fine_with_tokens() {
    let open = || Flags::new().with("listen", "0.0.0.0:0");
    assert!(load(open(), &[], None).unwrap_err().is_conflict());
    assert!(load(open().with("tokens", "[]"), &[], None).is_err());
    assert!(load(open().with("tokens", JSON), &[], None).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let jwt = serde_json::json!({ "algorithm": "HS256", "secret_file": path });
    let loaded = load(open().with("jwt", jwt.to_string()), &[], None).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("32 bytes"));
}

#[test]
fn jwt_reads_its_keys_and_shows_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET.repeat(2)).unwrap();
    let path = path.to_str().unwrap();
    let text = format!(
        "jwt = {{algorithm = 'HS256', secret_file = '{path}', issuer = 'me', audience = 'you'}}"
    );
    let first = load_file(&text).unwrap();
    let settings = first.settings.jwt.as_ref().unwrap().settings();
    assert_eq!(settings.algorithm, JwtAlgorithm::Hs256);
    assert_eq!(
        (settings.issuer.as_deref(), settings.audience.as_deref()),
        (Some("me"), Some("you"))
    );
    let shown = first.to_toml();
    assert!(
        shown.contains(path) && !shown.contains("hunter2"),
        "{shown}"
    );
    assert!(!format!("{first:?}").contains("hunter2"));
    assert_eq!(load_file(&shown).unwrap().settings, first.settings);
}

#[test]
fn what_is_wrong_with_jwt_is_named() {
    for (text, named) in [
        ("{}", "`algorithm` is missing"),
        ("{algorithm = 'none', secret_file = 'x'}", "not \"none\""),
        (
            "{algorithm = 'hs256', secret_file = 'x'}",
            "HS256, RS256, ES256 or EdDSA",
        ),
        ("{algorithm = 'HS256'}", "it needs one of `secret_file`"),
        (
            "{algorithm = 'HS256', secret_file = 'x', jwks_file = 'y'}",
            "it needs one of",
        ),
        (
            "{algorithm = 'HS256', secret_file = '/no/such'}",
            "`secret_file` (/no/such): ",
        ),
        (
            "{algorithm = 'RS256', secret_file = '/no/such'}",
            "for HS256 only",
        ),
        (
            "{algorithm = 'HS256', secret_file = 1}",
            "`secret_file` must be a text",
        ),
        (
            "{algorithm = 'HS256', secret_file = 'x', audience = ['a']}",
            "`audience` must be a text",
        ),
        (
            "{algorithm = 'HS256', secret = 'hunter2'}",
            "the key `secret` is unknown",
        ),
        ("'HS256'", "a table such as"),
    ] {
        let message = message(load_file(&format!("jwt = {text}")));
        assert!(message.starts_with("bad value for jwt ("), "{message}");
        assert!(message.contains(named), "{named} in {message}");
        // One that stands where it should not is none of the log's business either.
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn networks_are_read_as_such_and_addresses_as_networks_of_one() {
    let text = "trusted_proxies = ['10.1.2.3/8', '192.0.2.1', 'fd00::/8', '::1']";
    let loaded = load_file(text).unwrap();
    let expected = r#"["10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "::1/128"]"#;
    assert_eq!(line(&loaded, "trusted_proxies").value, expected);
    let flag = Flags::new().with("trusted_proxies", "10.0.0.0/8, 192.0.2.1,fd00::/8,::1/128");
    let flag = load(flag, &[], None).unwrap();
    assert_eq!(
        flag.settings.trusted_proxies,
        loaded.settings.trusted_proxies
    );
    for bad in [
        "10.0.0.0/33",
        "10.0.0/8",
        "proxy.example",
        "10.0.0.0/-1",
        "*",
    ] {
        let text = message(load(Flags::new().with("trusted_proxies", bad), &[], None));
        assert!(text.contains(bad), "{text}");
    }
    assert!(load_file("trusted_proxies = '10.0.0.0/8'").is_err());
}
