//! Official validators and libraries, which run on Node.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::foreign::clients;
use crate::wait::within;

/// Gives `input` to a part of `descriptions.js`; returns what is wrong with it.
pub async fn faults(what: &str, input: &Value) -> Vec<String> {
    let script = clients().join("descriptions.js");
    let (code, output) = node(&[script.as_os_str(), what.as_ref()], &input.to_string()).await;
    assert_eq!(code, Some(0), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Publishes CloudEvents at an address with `cloudevents.js`; returns the answers, two for each.
pub async fn published(url: &str, events: &Value) -> Vec<Value> {
    let script = clients().join("cloudevents.js");
    let (code, output) = node(&[script.as_os_str(), url.as_ref()], &events.to_string()).await;
    assert_eq!(code, Some(0), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Compiles a TypeScript file, without output; returns what the compiler complains of.
pub async fn typescript_faults(file: &Path) -> String {
    let compiler = clients().join("node_modules/typescript/bin/tsc");
    let options = ["--strict", "--noEmit", "--pretty", "false"].map(str::as_ref);
    let args = [&[compiler.as_os_str()], &options[..], &[file.as_os_str()]].concat();
    let (code, output) = node(&args, "").await;
    assert_eq!(code == Some(0), output.is_empty(), "{code:?}: {output}");
    output
}

async fn node(args: &[&std::ffi::OsStr], input: &str) -> (Option<i32>, String) {
    let needed = clients().join("node_modules/ajv");
    assert!(needed.exists(), "ajv is missing: run `cargo xtask setup`");
    let mut child = Command::new("node")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let write = async move {
        // A program that does not read its input is no error here.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let ((), output) = within("the end of node", async {
        tokio::join!(write, child.wait_with_output())
    })
    .await;
    let output = output.expect("its output");
    let text = String::from_utf8(output.stdout).expect("text in UTF-8");
    (output.status.code(), text)
}
