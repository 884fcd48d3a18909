//! A receiver of spans over OTLP/HTTP, which decodes them with the official crates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::Server;
use crate::tls::Identity;
use crate::wait::eventually;

/// A receiver on a port of its own, as long as the runtime of the test runs.
#[derive(Debug)]
pub struct Receiver {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<Span>,
    requests: usize,
    answer: Answer,
}

/// How the receiver answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It takes all.
    #[default]
    All,
    /// It takes all but so many.
    AllBut(i64),
    /// It takes nothing, and says so with this status.
    Status(u16),
}

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// Its own ID, in hexadecimal digits.
    pub id: String,
    /// The span above it; empty where there is none.
    pub parent: String,
    /// The name.
    pub name: String,
    /// Whose work it is.
    pub kind: SpanKind,
    /// Begin and end, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Its attributes as text; of a list, its items with commas.
    pub attributes: BTreeMap<String, String>,
    /// The message, where its status is an error.
    pub error: Option<String>,
    /// The flags.
    pub flags: u32,
    /// The attributes of the program that it comes from.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute; the test fails where there is none.
    pub fn get(&self, key: &str) -> &str {
        let value = self.attributes.get(key);
        value.unwrap_or_else(|| panic!("{key} in {self:?}"))
    }
}

impl Receiver {
    /// Starts it.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts one that speaks TLS.
    pub async fn start_with_tls(identity: &Identity) -> Self {
        let cert = CertificateDer::from_pem_file(identity.cert()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(identity.key()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("they belong together");
        Self::listen(Some(Arc::new(config).into())).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let scheme = tls.as_ref().map_or("http", |_| "https");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            scheme,
            address,
            state,
        }
    }

    /// A server that exports its spans to this receiver.
    pub fn server(&self, args: &[&str]) -> Server {
        let endpoint = self.endpoint();
        let ours = ["--otlp-endpoint", &endpoint];
        Server::start(&[&ours, args].concat())
    }

    /// The value of `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Has it answer in another way from now on.
    pub fn answers(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    /// How many requests there have been.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// The spans that it has taken so far.
    pub fn spans(&self) -> Vec<Span> {
        self.state.lock().unwrap().spans.clone()
    }

    /// Waits until a trace has spans of these names, and gives them in that order.
    pub async fn wait<const N: usize>(&self, trace: &str, names: [&str; N]) -> [Span; N] {
        eventually(&format!("{names:?} of {trace}"), async || {
            let spans = self.spans();
            let of_trace = |name: &&str| {
                let mut spans = spans.iter();
                spans.find(|span| span.trace == trace && span.name == **name)
            };
            let found: Option<Vec<Span>> =
                names.iter().map(|name| of_trace(name).cloned()).collect();
            found?.try_into().ok()
        })
        .await
    }
}

/// Requests one after the other, as OTLP/HTTP has them.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(
            head.contains("\r\ncontent-type: application/x-protobuf\r\n"),
            "{head}"
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        while bytes.len() < end + 4 + length {
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
        let rest = bytes.split_off(end + 4 + length);
        let request = ExportTraceServiceRequest::decode(&bytes[end + 4..]).expect("OTLP");
        bytes = rest;
        let answer = take(&state, request);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn take(state: &Mutex<State>, request: ExportTraceServiceRequest) -> Vec<u8> {
    let mut state = state.lock().unwrap();
    state.requests += 1;
    let partial_success = match state.answer {
        Answer::Status(status) => {
            return format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").into_bytes();
        }
        Answer::All => None,
        Answer::AllBut(rejected_spans) => Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: "too old".to_owned(),
        }),
    };
    state.spans.extend(spans(request));
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: ";
    let mut answer = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(of_resource.resource.expect("a resource").attributes);
        for of_scope in of_resource.scope_spans {
            assert_eq!(of_scope.scope.expect("a scope").name, "stoat");
            spans.extend(of_scope.spans.into_iter().map(|span| {
                Span {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind(),
                    name: span.name,
                    times: (span.start_time_unix_nano, span.end_time_unix_nano),
                    attributes: attributes(span.attributes),
                    error: span
                        .status
                        .filter(|status| status.code() == StatusCode::Error)
                        .map(|status| status.message),
                    flags: span.flags,
                    resource: resource.clone(),
                }
            }));
        }
    }
    for span in &spans {
        assert_eq!((span.trace.len(), span.id.len()), (32, 16), "{span:?}");
        assert!(matches!(span.parent.len(), 0 | 16), "{span:?}");
        assert!(span.times.0 <= span.times.1, "{span:?}");
    }
    spans
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::ArrayValue(list)) => {
            let items: Vec<String> = list.values.into_iter().map(Some).map(text).collect();
            items.join(",")
        }
        other => panic!("a value that is used: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
