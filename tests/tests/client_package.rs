//! The npm package of the browser client: packed, installed, imported and compiled against.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use stoat_tests::foreign::clients;
use stoat_tests::{binary, run, within};
use tokio::process::Command;

/// What a page's own code looks like; each error that is expected has to be one.
const CONSUMER: &str = r#"
import { connect, type Client, type EventOf } from "stoat-client";

declare module "stoat-client" {
  interface EventPayloads {
    "invoice.paid": { number: number };
  }
}

const client: Client = connect({ url: "https://hub.example/" });
client.onEvent("invoice.paid", (event: EventOf<"invoice.paid">) => {
  const number: number = event.payload.number;
  // @ts-expect-error: it is a number.
  const text: string = event.payload.number;
  return [number, text];
});
// @ts-expect-error: nothing else is to be had of it.
import { Link } from "stoat-client";
"#;

/// Runs a program to its good end; returns its standard output.
async fn output(folder: &Path, program: &str, args: &[&str]) -> String {
    let child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within(program, child).await.expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}{said}");
    text
}

#[tokio::test]
async fn it_is_packed_installed_imported_and_has_types() {
    let source = binary::workspace().join("crates/app/web");
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path();
    let text = page.to_str().expect("UTF-8");
    let cache = format!("--cache={text}/cache");
    let npm = [cache.as_str(), "--offline", "--no-audit", "--no-fund"];

    let pack = [&npm[..], &["pack", "--json", "--pack-destination", text]].concat();
    let packed: Value = serde_json::from_str(&output(&source, "npm", &pack).await).expect("JSON");
    let packed = &packed[0];
    let files = packed["files"].as_array().expect("a list");
    let files: BTreeSet<_> = files.iter().map(|file| file["path"].as_str()).collect();
    let expected = [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "package.json",
        "stoat.d.ts",
        "stoat.js",
        "stoat/moment.js",
        "stoat/options.js",
        "stoat/tabs.js",
        "stoat/transport.js",
    ];
    assert_eq!(files, expected.into_iter().map(Some).collect());
    // npm leaves links out: these are copies.
    for licence in &expected[..2] {
        let of_the_project = fs::read(binary::workspace().join(licence)).expect("a licence");
        assert!(fs::read(source.join(licence)).expect("a copy") == of_the_project);
    }
    let version = run(&["--version"]).await.stdout;
    let version = version.split_whitespace().nth(1);
    assert_eq!(packed["version"].as_str(), version);

    let file = format!("./{}", packed["filename"].as_str().expect("a name"));
    fs::write(page.join("package.json"), r#"{"type":"module"}"#).expect("a file");
    output(page, "npm", &[&npm[..], &["install", &file]].concat()).await;
    let import = "import * as all from 'stoat-client'; console.log(Object.keys(all).join())";
    let seen = output(page, "node", &["--input-type=module", "--eval", import]).await;
    assert_eq!(seen.trim(), "connect");

    fs::write(page.join("consumer.ts"), CONSUMER).expect("a file");
    let compiler = clients().join("node_modules/typescript/bin/tsc");
    let compiler = compiler.to_str().expect("UTF-8");
    let options = ["--strict", "--noEmit", "--module", "nodenext"];
    let compile = [&[compiler], &options[..], &["consumer.ts"]].concat();
    output(page, "node", &compile).await;
}
