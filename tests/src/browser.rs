//! Chromium without a window, driven through `playwright-core`.

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::foreign;
use crate::wait::{eventually, within};

/// Debian's.
const PROGRAM: &str = "/usr/bin/chromium";

/// How long it may take to end by itself.
const LAST_MOMENTS: Duration = Duration::from_secs(20);

/// A browser with one tab at first, and a profile of its own; both go when it is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    /// Gone only while this is dropped.
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    calls: u64,
    console: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it.
    pub async fn start() -> Self {
        let clients = foreign::clients();
        for needed in [
            Path::new(PROGRAM),
            &clients.join("node_modules/playwright-core"),
        ] {
            let place = needed.display();
            assert!(
                needed.exists(),
                "{place} is missing: run `cargo xtask setup`"
            );
        }
        let profile = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("node")
            .arg(clients.join("browser.js"))
            .arg(PROGRAM)
            .arg(profile.path())
            // A container has little shared memory.
            .arg("--disable-dev-shm-usage")
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Node runs");
        let output = child.stdout.take().expect("a pipe");
        let mut browser = Self {
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            calls: 0,
            console: Vec::new(),
            child,
            _profile: profile,
        };
        browser.answer(0, "the start").await;
        browser
    }

    /// Opens an address, and waits until it is loaded.
    pub async fn goto(&mut self, url: &str) {
        self.call("page", "goto", json!([url])).await;
    }

    /// Opens a page without a script of its own, and in it the client as `window.stoat`.
    pub async fn with_client(&mut self, base: &str) {
        self.goto(&format!("{base}/stoat.d.ts")).await;
        let load = "import('/stoat.js').then((module) => { window.stoat = module; })";
        self.evaluate(load).await;
    }

    /// Connects the client with these options, as `window.client`; `numbers` collects the `n` of
    /// its events, `gaps` the reasons of its gaps, and `changes` those of its state. Waits until
    /// it is open.
    pub async fn connect(&mut self, options: &str) {
        let connect = format!(
            "window.numbers = []; window.gaps = []; window.changes = [];
             window.client = stoat.connect({options});
             client.onEvent('*', (event) => {{
               if ('n' in event.payload) numbers.push(event.payload.n);
             }});
             client.onGap((gap) => gaps.push(gap.payload.reason));
             client.onState((change) => changes.push(change));
             null"
        );
        self.evaluate(&connect).await;
        self.until("client.state === 'open'").await;
    }

    /// The value of an expression, or what its promise becomes.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        self.call("page", "evaluate", json!([expression])).await
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        self.value(&format!("({expression}) || null")).await;
    }

    /// The value of an expression once it is not null.
    pub async fn value(&mut self, expression: &str) -> Value {
        let what = format!("in the page: {expression}");
        eventually(&what, async || {
            let value = self.evaluate(expression).await;
            (!value.is_null()).then_some(value)
        })
        .await
    }

    /// Calls a method of the page, see the documentation of Playwright.
    pub async fn page(&mut self, call: &str, args: Value) -> Value {
        self.call("page", call, args).await
    }

    /// Clicks on what this selector finds.
    pub async fn click(&mut self, selector: &str) {
        self.page("click", json!([selector])).await;
    }

    /// Puts a text into a field.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.page("fill", json!([selector, text])).await;
    }

    /// Presses a key.
    pub async fn press(&mut self, key: &str) {
        self.call("keyboard", "press", json!([key])).await;
    }

    /// Opens a tab before the others, to which everything goes from now on. The first has the number 0.
    pub async fn open_tab(&mut self) -> u64 {
        let number = self.call("tabs", "open", json!([])).await;
        number.as_u64().expect("a number")
    }

    /// Lets everything go to this tab.
    pub async fn choose_tab(&mut self, number: u64) {
        self.call("tabs", "choose", json!([number])).await;
    }

    /// Closes the tab, as a user does.
    pub async fn close_tab(&mut self) {
        self.page("close", json!([])).await;
    }

    /// Lets the process behind the tab crash.
    pub async fn crash_tab(&mut self) {
        self.call("tabs", "crash", json!([])).await;
    }

    /// Brings the tab before the others, which are hidden then.
    pub async fn show_tab(&mut self) {
        self.page("bringToFront", json!([])).await;
    }

    /// Freezes the tab, as the browser does with one that was hidden for long, or wakes it up. A tab
    /// that can be seen is never frozen.
    pub async fn freeze(&mut self, frozen: bool) {
        let state = if frozen { "frozen" } else { "active" };
        let state = json!({ "state": state });
        self.cdp("Page.setWebLifecycleState", state).await;
    }

    /// Stops all processes of the browser, as a machine does that is suspended, until
    /// [`Self::resume`].
    pub async fn suspend(&mut self) {
        self.call("machine", "suspend", json!([])).await;
    }

    /// Lets them go on.
    pub async fn resume(&mut self) {
        self.call("machine", "resume", json!([])).await;
    }

    /// Cuts the network of the page, or brings it back.
    pub async fn offline(&mut self, offline: bool) {
        self.call("context", "setOffline", json!([offline])).await;
    }

    /// Sends a command of the DevTools protocol.
    pub async fn cdp(&mut self, command: &str, parameters: Value) -> Value {
        self.call("cdp", "send", json!([command, parameters])).await
    }

    /// What pages wrote to the console or threw so far.
    pub fn console(&self) -> &[String] {
        &self.console
    }

    async fn call(&mut self, on: &str, call: &str, args: Value) -> Value {
        self.calls += 1;
        let command = json!({"id": self.calls, "on": on, "call": call, "args": args});
        let line = format!("{command}\n");
        let input = self.input.as_mut().expect("it is not dropped");
        within("room for a command", input.write_all(line.as_bytes()))
            .await
            .expect("the browser runs");
        self.answer(self.calls, &format!("{call} {args}")).await
    }

    /// What it says on the way, such as that it tries in vain, gives it no more time.
    async fn answer(&mut self, id: u64, what: &str) -> Value {
        within(what, self.read_answer(id, what)).await
    }

    async fn read_answer(&mut self, id: u64, what: &str) -> Value {
        loop {
            let line = self.output.next_line().await.expect("a pipe");
            let line = line.unwrap_or_else(|| panic!("the browser ended within {what}"));
            let said: Value = serde_json::from_str(&line).expect("a line of JSON");
            if let Some(text) = said["said"].as_str() {
                self.console.push(text.to_owned());
            } else {
                assert_eq!(said["id"], id, "{said}");
                let error = said["error"].as_str();
                assert_eq!(error, None, "{what}; the console: {:#?}", self.console);
                return said["value"].clone();
            }
        }
    }
}

impl Drop for Browser {
    /// Waits for its end: until then it writes into the profile.
    fn drop(&mut self) {
        self.input = None;
        let start = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if start.elapsed() > LAST_MOMENTS {
                let _ = self.child.start_kill();
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
