//! The servers that are compared, and how each is started.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What it is, in a few words.
    pub(crate) what: &'static str,
    /// The path of its publish URL.
    pub(crate) publish: &'static str,
    program: PathBuf,
    start: Start,
}

enum Start {
    /// `PROGRAM --port PORT`
    Port,
    Stoat,
    /// nginx with the module at this path.
    Nchan(PathBuf),
}

/// The one that all others are compared with.
pub(crate) const BASELINE: &str = "plain";

const DIST: &str =
    "as `cargo xtask dist` makes it, guided by a profile, with the settings it has by default";
const BUILT: &str = "as `cargo build --release` makes it, with the settings it has by default";

const NGINX: &str = "/usr/sbin/nginx";
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// All that are built into a folder, and those that the machine has; or only the named ones. With
/// `dist`, stoat is the program at that path, and the one in the folder is there beside it.
pub(crate) fn all(
    folder: &Path,
    dist: Option<&str>,
    only: Option<&str>,
) -> Result<Vec<Contender>, String> {
    let own = |name, what| Contender {
        name,
        what,
        publish: "/publish",
        program: folder.join(name),
        start: Start::Port,
    };
    let stoat = |name, what, program| Contender {
        name,
        what,
        publish: "/api/v1/events",
        program,
        start: Start::Stoat,
    };
    let built = folder.join("stoat");
    let mut all = vec![own("plain", "epoll loop, one log of frames, nothing else")];
    match dist {
        Some(dist) => all.extend([
            stoat("stoat", DIST, PathBuf::from(dist)),
            stoat("stoat-untrained", BUILT, built),
        ]),
        None => all.push(stoat("stoat", BUILT, built)),
    }
    all.extend([
        own("peer-axum", "axum with tokio::sync::broadcast"),
        own("peer-queue", "hyper-tungstenite, a queue per connection"),
        own(
            "peer-fastwebsockets",
            "fastwebsockets, a queue per connection",
        ),
    ]);
    if Path::new(NGINX).exists() && Path::new(NCHAN).exists() {
        all.push(Contender {
            name: "nchan",
            what: "nginx with the nchan module, one process",
            publish: "/publish",
            program: PathBuf::from(NGINX),
            start: Start::Nchan(PathBuf::from(NCHAN)),
        });
    }
    if let Some(only) = only {
        let names: Vec<&str> = only.split(',').collect();
        if let Some(name) = names
            .iter()
            .find(|name| all.iter().all(|one| one.name != **name))
        {
            return Err(format!("no server `{name}`"));
        }
        all.retain(|one| names.contains(&one.name));
    }
    for one in &all {
        if !one.program.exists() {
            return Err(format!("{} is not built", one.program.display()));
        }
    }
    Ok(all)
}

impl Contender {
    /// Whether it passes on what is published as it is, and so has to be given the finished
    /// message for the same bytes to reach the clients.
    pub(crate) fn passes_on(&self) -> bool {
        !matches!(self.start, Start::Stoat)
    }

    /// The command line that starts it.
    ///
    /// Only stoat listens on another address than 127.0.0.1, and takes settings.
    pub(crate) fn command(
        &self,
        address: SocketAddrV4,
        settings: &[&str],
    ) -> Result<Vec<String>, String> {
        let port = address.port();
        let program = self.program.display().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(match &self.start {
            Start::Port => words(&[&program, "--port", &port.to_string()]),
            Start::Stoat => {
                let listen = address.to_string();
                let own = [&program, "--listen", &listen, "--log-level", "error"];
                words(&[&own, settings].concat())
            }
            Start::Nchan(module) => {
                let folder = scratch();
                fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
                let path = folder.join("nginx.conf");
                fs::write(&path, nginx_conf(module, &folder, port))
                    .map_err(|error| error.to_string())?;
                words(&[&program, "-c", &path.display().to_string()])
            }
        })
    }
}

/// Where nginx keeps its files.
fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("stoat-bench-{}", std::process::id()))
}

/// Leaves nothing behind of what the servers kept.
pub(crate) fn clean() {
    // Often there is nothing.
    let _ = fs::remove_dir_all(scratch());
}

fn nginx_conf(module: &Path, folder: &Path, port: u16) -> String {
    let (module, folder) = (module.display(), folder.display());
    format!(
        "load_module {module};
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /ws {{
            nchan_subscriber websocket;
            nchan_channel_id bench;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length 1000;
        }}
    }}
}}
"
    )
}
