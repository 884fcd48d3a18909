//! What is served to browsers as files: the client, and the page that shows what goes on.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL,
    CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, empty, text};

/// What the page may load: its own files, and nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
/// There is no registered type for it.
const DECLARATIONS: &str = "text/plain; charset=utf-8";

/// A file that is part of the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    bytes: &'static [u8],
    etag: String,
}

/// All files.
pub(super) fn all() -> &'static [Asset] {
    static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(assets);
    &ASSETS
}

/// Finds a file by its path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    all().iter().find(|asset| asset.path == path)
}

macro_rules! asset {
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset::new(
            $path,
            $content_type,
            include_bytes!(concat!("../../web/", $file)),
        )
    };
}

fn assets() -> Vec<Asset> {
    vec![
        asset!("/stoat.js", SCRIPT, "stoat.js"),
        asset!("/stoat/moment.js", SCRIPT, "stoat/moment.js"),
        asset!("/stoat/options.js", SCRIPT, "stoat/options.js"),
        asset!("/stoat/tabs.js", SCRIPT, "stoat/tabs.js"),
        asset!("/stoat/transport.js", SCRIPT, "stoat/transport.js"),
        asset!("/stoat.d.ts", DECLARATIONS, "stoat.d.ts"),
        asset!("/", HTML, "inspector/index.html"),
        asset!("/inspector/style.css", STYLE, "inspector/style.css"),
        asset!("/inspector/icon.svg", SVG, "inspector/icon.svg"),
        asset!("/inspector/main.js", SCRIPT, "inspector/main.js"),
        asset!("/inspector/dom.js", SCRIPT, "inspector/dom.js"),
        asset!("/inspector/events.js", SCRIPT, "inspector/events.js"),
        asset!("/inspector/trace.js", SCRIPT, "inspector/trace.js"),
        asset!("/inspector/tabs.js", SCRIPT, "inspector/tabs.js"),
        asset!("/inspector/chart.js", SCRIPT, "inspector/chart.js"),
        asset!("/inspector/panels.js", SCRIPT, "inspector/panels.js"),
    ]
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(bytes)[..16] {
            // Writing to a string cannot fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self {
            path,
            content_type,
            bytes,
            etag,
        }
    }

    /// The file, or that the client has it already.
    pub(super) fn to_answer(&self, request: &HeaderMap) -> Answer {
        let mut answer = if self.is_known(request) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            text(
                StatusCode::OK,
                self.content_type,
                Bytes::from_static(self.bytes),
            )
        };
        let headers = answer.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        // Names stay when the program is updated: each use asks whether the file is the same.
        set(CACHE_CONTROL, "no-cache");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        if self.content_type == HTML {
            set(CONTENT_SECURITY_POLICY, POLICY);
            set(REFERRER_POLICY, "no-referrer");
        } else {
            // They hold no data; pages of other origins may use the client.
            set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
            // From where the client begins.
            set(ACCESS_CONTROL_EXPOSE_HEADERS, "X-Stoat-Cursor");
        }
        if let Ok(etag) = HeaderValue::try_from(&self.etag) {
            headers.insert(ETAG, etag);
        }
        answer
    }

    fn is_known(&self, request: &HeaderMap) -> bool {
        let lists = request.get_all(IF_NONE_MATCH).iter();
        let mut tags = lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag == self.etag)
    }
}
