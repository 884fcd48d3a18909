//! Follows a page: does what each of its blocks is for, and holds what happens against what is written.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::compare::{Names, values};
use super::shell::{Environment, Shell, Terminal};
use super::{Block, Page};
use crate::access::key_file;
use crate::browser::Browser;
use crate::http::{Connection, Request};
use crate::prometheus::Metrics;
use crate::tls::Identity;
use crate::wait::eventually;
use crate::{binary, foreign};

/// What pages call the machine. Each run has an address of its own in its place, so that all of them
/// can use the same ports.
const HOST: &str = "127.0.0.1";

/// The port of the server that the settings begin with.
const PORT: u16 = 8765;

/// Does what a page says; fails where something else comes of it.
pub async fn follow(page: &Page) {
    let mut reader = Reader::start(page);
    for block in &page.blocks {
        reader.at = format!("{}:{}", page.path, block.line);
        reader.take(block).await;
    }
}

struct Reader {
    at: String,
    host: String,
    names: Names,
    shell: Shell,
    /// Newest last.
    terminals: Vec<Terminal>,
    browser: Option<Browser>,
    /// Whether its page is a client of the server.
    page_is_client: bool,
    environment: Environment,
    /// What the next block may be the output of.
    last: Last,
    _reserved: TcpListener,
    folder: TempDir,
}

enum Last {
    Output(String),
    Terminal,
    Other,
}

impl Reader {
    fn start(page: &Page) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (host, reserved) = own_host();
        let mut environment = environment(folder.path(), &host);
        // A reader has room for what a stream retains by default; where tests run, there may be less.
        if page
            .blocks
            .iter()
            .any(|block| block.text.contains("--nats-url"))
        {
            environment.push(("STOAT_NATS_MAX_BYTES", "64MiB".into()));
        }
        lay_out(folder.path());
        Self {
            at: page.path.clone(),
            host,
            names: Names::default(),
            shell: Shell::start(folder.path(), &environment),
            terminals: Vec::new(),
            browser: None,
            page_is_client: false,
            environment,
            last: Last::Other,
            _reserved: reserved,
            folder,
        }
    }

    async fn take(&mut self, block: &Block) {
        if block.reason().is_some() {
            self.last = Last::Other;
            return;
        }
        let text = self.names.apply(&block.text.replace(HOST, &self.host));
        if let Some(name) = block.value("file") {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, &text).expect("a file");
        }
        match &*block.language {
            "sh" if block.has("terminal") => self.open_terminal(block, &text).await,
            "sh" => self.run(&text).await,
            "text" | "json" => return self.compare(block, &text).await,
            "html" | "js" if block.value("file").is_none() => self.open_page(block, &text).await,
            "python" if block.value("file").is_none() => {
                fs::write(self.folder.path().join("block.py"), &text).expect("a file");
                self.run("python3 block.py").await;
                return;
            }
            "toml" => self.check_toml(&text).await,
            "yaml" => self.check_yaml(&text).await,
            "html" | "js" | "python" | "rust" => {}
            other => panic!("{}: what is `{other}`?", self.at),
        }
        if block.language != "sh" {
            self.last = Last::Other;
        }
    }

    async fn run(&mut self, script: &str) {
        let (output, success) = self.shell.run(self.folder.path(), script).await;
        let (at, terminals) = (&self.at, self.terminal_texts());
        assert!(
            success,
            "{at}: a command failed:\n{script}\n{output}\n{terminals}"
        );
        self.last = Last::Output(output.replace(HOST, &self.host));
    }

    /// Opens a terminal; one with a client is open once the server counts it.
    async fn open_terminal(&mut self, block: &Block, script: &str) {
        let is_client = block.has("client");
        let before = if is_client {
            self.clients().await
        } else {
            None
        };
        let (folder, number) = (self.folder.path(), self.terminals.len());
        let terminal = Terminal::start(folder, &self.environment, number, script);
        self.terminals.push(terminal);
        self.last = Last::Terminal;
        if is_client {
            self.one_more_client(before).await;
        }
    }

    async fn one_more_client(&self, before: Option<f64>) {
        let before = before.unwrap_or_else(|| panic!("{}: no server is running", self.at));
        let what = format!("{}: the server counts one more client", self.at);
        eventually(&what, async || {
            self.clients().await.filter(|now| *now > before)
        })
        .await;
    }

    async fn clients(&self) -> Option<f64> {
        let stream = TcpStream::connect(format!("{}:{PORT}", self.host))
            .await
            .ok()?;
        let mut connection = Connection::over(stream);
        let answer = connection.try_send(&Request::get("/metrics")).await?;
        let metrics = (answer.status == 200).then(|| Metrics::parse(&answer.text()))?;
        metrics.value("stoat_ws_connected_clients", &[])
    }

    async fn compare(&mut self, block: &Block, expected: &str) {
        let is_json = block.language == "json";
        let at = self.at.clone();
        if is_json {
            let is_good = values(expected).is_some_and(|values| !values.is_empty());
            assert!(is_good, "{at}: this is no JSON");
        }
        if let Some(url) = block.value("browser") {
            let url = url.replace(HOST, &self.host);
            self.browser().await.goto(&url).await;
        }
        if block.has("browser") || block.value("browser").is_some() {
            return self.is_in_browser(expected).await;
        }
        if block.has("terminal") || matches!(self.last, Last::Terminal) {
            return self.is_in_terminal(block, expected).await;
        }
        let Last::Output(actual) = std::mem::replace(&mut self.last, Last::Other) else {
            return;
        };
        let same = match is_json {
            true => self.names.is_json(expected, &actual),
            false => self.names.is_output(expected, &actual),
        };
        let terminals = self.terminal_texts();
        assert!(
            same,
            "{at}: it says\n{actual}\nand not\n{expected}\n{terminals}"
        );
    }

    /// With the mark `terminal` any of them, else the one that was opened last.
    async fn is_in_terminal(&mut self, block: &Block, expected: &str) {
        let from = match block.has("terminal") {
            true => 0,
            false => self.terminals.len() - 1,
        };
        let is_json = block.language == "json";
        let what = format!("{}: a terminal says\n{expected}", self.at);
        let (names, host) = (&mut self.names, &self.host);
        let terminals = &mut self.terminals[from..];
        let found = eventually(&what, async || {
            let all_ended = terminals.iter_mut().all(Terminal::has_ended);
            let texts = terminals
                .iter()
                .map(|terminal| terminal.said().replace(HOST, host));
            let texts: Vec<String> = texts.collect();
            let found = texts.iter().any(|said| match is_json {
                true => names.is_json_within(expected, said),
                false => names.is_within(expected, said),
            });
            (found || all_ended).then_some(found)
        });
        if !found.await {
            panic!("{what}\nbut they have ended:\n{}", self.terminal_texts());
        }
        self.last = Last::Other;
    }

    fn terminal_texts(&self) -> String {
        let mut texts = String::new();
        for terminal in &self.terminals {
            let _ = writeln!(texts, "--- a terminal ---\n{}", terminal.said());
        }
        texts
    }

    async fn browser(&mut self) -> &mut Browser {
        if self.browser.is_none() {
            self.browser = Some(Browser::start().await);
        }
        self.browser.as_mut().expect("it was just started")
    }

    /// Opens a page of the server's own origin that is, or runs, this block.
    async fn open_page(&mut self, block: &Block, text: &str) {
        let html = match &*block.language {
            "html" => text.to_owned(),
            _ => format!("<body><script type=\"module\">{text}</script></body>"),
        };
        let connects = ["connect(", "new EventSource(", "new WebSocket("];
        let connects = connects.iter().any(|call| text.contains(call));
        let base = format!("http://{}:{PORT}/stoat.d.ts", self.host);
        let mut before = self.clients().await;
        self.browser().await.goto(&base).await;
        if std::mem::replace(&mut self.page_is_client, connects) {
            before = before.map(|before| before - 1.0);
            let what = format!("{}: the page before is no client any more", self.at);
            eventually(&what, async || {
                (self.clients().await == before).then_some(())
            })
            .await;
        }
        let browser = self.browser().await;
        browser.page("setContent", json!([html])).await;
        // Where tokens are configured, what comes of it has to be shown.
        if connects && before.is_some() {
            self.one_more_client(before).await;
        }
        let (at, browser) = (self.at.clone(), self.browser().await);
        let faults = browser.console().iter();
        let faults: Vec<_> = faults.filter(|said| said.starts_with("thrown")).collect();
        assert!(faults.is_empty(), "{at}: {faults:?}");
    }

    /// What is on the page, and what it wrote to the console.
    async fn is_in_browser(&mut self, expected: &str) {
        let what = format!("{}: the browser shows\n{expected}", self.at);
        let browser = self.browser.as_mut().expect("a page is open");
        let names = &mut self.names;
        eventually(&what, async || {
            let shown = browser.evaluate("document.body.innerText").await;
            let shown = shown.as_str().unwrap_or_default();
            let console = browser.console().iter();
            let console: Vec<&str> = console
                .filter_map(|said| said.strip_prefix("log: "))
                .collect();
            let found =
                names.is_within(expected, shown) || names.is_within(expected, &console.join("\n"));
            found.then_some(())
        })
        .await;
        self.last = Last::Other;
    }

    /// Settings are checked by the program, a part of a manifest against what the crates offer.
    async fn check_toml(&mut self, text: &str) {
        let file = self.folder.path().join(".block.toml");
        fs::write(file, text).expect("a file");
        if text.contains("dependencies]") {
            super::manifest::check(&self.at, text);
        } else {
            self.run("stoat check-config --config .block.toml").await;
        }
    }

    async fn check_yaml(&mut self, text: &str) {
        fs::write(self.folder.path().join(".block.yaml"), text).expect("a file");
        let script = "python3 -c 'import yaml; yaml.safe_load(open(\".block.yaml\"))'";
        self.run(script).await;
    }
}

/// An address that nobody else uses as long as the socket is open: the whole of 127.0.0.0/8 is this
/// machine, and the system picks no port twice at a time.
fn own_host() -> (String, TcpListener) {
    loop {
        let reserved = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = reserved.local_addr().expect("its address").port();
        let [high, low] = port.to_be_bytes();
        // No host ends like a network or its broadcast.
        if (1..=254).contains(&low) {
            return (Ipv4Addr::new(127, 65, high, low).to_string(), reserved);
        }
    }
}

fn environment(folder: &Path, host: &str) -> Environment {
    let root = binary::workspace();
    let own = [
        folder.join(".bin"),
        root.join(".tools/venv/bin"),
        root.join(".tools/bin"),
    ];
    let system = std::env::var_os("PATH").unwrap_or_default();
    let paths = own.into_iter().chain(std::env::split_paths(&system));
    let path = std::env::join_paths(paths.chain(["/usr/sbin".into()])).expect("folders");
    let text = |text: String| OsString::from(text);
    vec![
        ("PATH", path),
        ("HOME", folder.into()),
        // Its progress is for terminals.
        ("CURL_HOME", folder.join(".curl").into()),
        ("PYTHONDONTWRITEBYTECODE", text("1".to_owned())),
        ("PYTHONUNBUFFERED", text("1".to_owned())),
        ("NO_COLOR", text("1".to_owned())),
        ("STOAT_LISTEN", text(format!("{host}:{PORT}"))),
        ("STOAT_URL", text(format!("http://{host}:{PORT}"))),
    ]
}

/// What a reader has at hand: the program, what cargo has built, Node's packages, a certificate, and
/// the key of an issuer of tokens.
fn lay_out(folder: &Path) {
    let (bin, identity) = (folder.join(".bin"), Identity::new());
    fs::create_dir_all(&bin).expect("a folder");
    std::os::unix::fs::symlink(binary::stoat(), bin.join("stoat")).expect("a link");
    let cargo = "#!/bin/bash\n# A test builds nothing: this is what is built.\n\
                 [ \"$*\" = \"run --release\" ] && exec stoat\nexit 1\n";
    let file = bin.join("cargo");
    fs::write(&file, cargo).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");

    fs::create_dir_all(folder.join(".curl")).expect("a folder");
    fs::write(folder.join(".curl/.curlrc"), "silent\nshow-error\n").expect("a file");
    let modules = foreign::clients().join("node_modules");
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).expect("a link");
    for (from, to) in [
        (identity.cert(), "chain.pem"),
        (identity.key(), "key.pem"),
        (key_file("es256.pub.pem"), "issuer.pem"),
    ] {
        fs::copy(&from, folder.join(to)).expect("a copy");
    }
}
