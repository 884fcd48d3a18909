//! Payloads that are checked against the schemas of `schemas_dir`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use serde_json::json;
use stoat_tests::descriptions::faults;
use stoat_tests::{Request, Server, run};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const PAID: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "description": "An invoice was paid.",
    "type": "object",
    "properties": { "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } } },
    "required": ["lines"],
    "$defs": { "Line": { "type": "object", "properties": { "cents": { "type": "integer" } } } }
}"##;

#[tokio::test]
async fn a_payload_in_breach_is_refused_with_its_place() {
    let schemas = folder(&[("invoice.paid.json", PAID)]);
    let server = Server::start(&["--schemas-dir", text(schemas.path())]);
    let mut client = server.client().await;

    let good = json!({"type": "invoice.paid", "payload": {"lines": [{"cents": 5}]}});
    let bad =
        json!({"type": "invoice.paid", "payload": {"lines": [{"cents": 5}, {"cents": "secret"}]}});
    let refused = Request::publish(bad.to_string())
        .send(&server)
        .await
        .problem(422);
    assert_eq!(refused["type"], "urn:stoat:problem:payload-mismatch");
    assert_eq!(refused["field"], "payload/lines/1/cents");
    assert!(!refused.to_string().contains("secret"), "{refused}");
    let batch = json!([{"type": "other"}, {"type": "invoice.paid"}]);
    let refused = Request::publish(batch.to_string())
        .send(&server)
        .await
        .problem(422);
    assert_eq!(
        (&refused["index"], &refused["field"]),
        (&json!(1), &json!("payload"))
    );

    server.publish(&good.to_string()).await;
    server
        .publish(r#"{"type":"invoice","payload":{"lines":5}}"#)
        .await;
    let events = client.events(2).await;
    assert_eq!(
        events[0].event_type, "invoice.paid",
        "nothing of the batch was published"
    );

    let schema = Request::get("/schemas/event.json")
        .send(&server)
        .await
        .json();
    let values: Vec<_> = events
        .iter()
        .map(|event| serde_json::from_str(&event.text).unwrap())
        .chain([json!({"spoiled": true})])
        .collect();
    let input = json!({ "schema": schema, "events": values });
    assert_eq!(faults("events", &input).await.len(), 1);
    for (what, path) in [("asyncapi", "/asyncapi.json"), ("openapi", "/openapi.json")] {
        let document = Request::get(path).send(&server).await.json();
        let described = &document["components"]["schemas"]["invoice.paid.Line"];
        assert_eq!(described["type"], "object", "{path}");
        assert!(
            faults(what, &json!({ what: document })).await.is_empty(),
            "{path}"
        );
    }
    let types = run(&[
        "schema",
        "typescript",
        "--schemas-dir",
        text(schemas.path()),
    ])
    .await;
    assert!(
        types.stdout.contains("lines: Array<InvoicePaidLine>;"),
        "{types:?}"
    );
}

#[tokio::test]
async fn a_bad_schema_ends_the_program_and_is_named() {
    for (name, content) in [
        ("a.json", "{"),
        ("a.json", r#"{"type":"strin"}"#),
        ("Not A Type.json", "{}"),
    ] {
        let schemas = folder(&[(name, content)]);
        for command in ["serve", "schema"] {
            let output = run(&[
                command,
                "--listen",
                "127.0.0.1:0",
                "--schemas-dir",
                text(schemas.path()),
            ])
            .await;
            assert_eq!(output.code, Some(2), "{output:?}");
            assert_eq!(output.stdout, "");
            assert!(output.stderr.contains(name), "{output:?}");
        }
    }
    let missing = run(&[
        "--listen",
        "127.0.0.1:0",
        "--schemas-dir",
        "/no/such/folder",
    ])
    .await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("/no/such/folder"), "{missing:?}");
}
