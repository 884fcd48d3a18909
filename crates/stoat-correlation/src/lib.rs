#![cfg_attr(all(feature = "serde", feature = "tower"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "serde", feature = "tower")),
    doc = "The task-local correlation ID of the request being served: start with [`scope`] and [`current`]."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
//!
//! # How the parts fit
//!
//! ```text
//! request ─▶ layer or service ─▶ scope ┬─ .await ──────────────▶ current()
//!  X-Correlation-ID, or                ├─ spawn, spawn_blocking ▶ current()
//!  traceparent, or a new UUID          └─ Context ─▶ job's row ─▶ Context::run ─▶ current()
//! ```
//!
//! [`CorrelationId`] is the ID, [`Context`] the ID with its [`TraceParent`]. [`current`] and
//! [`current_context`] read them, [`scope`] and [`sync_scope`] set them, [`spawn`](spawn()),
//! [`spawn_blocking`] and [`in_current_scope`] take them along.

mod context;
#[cfg(feature = "http")]
mod headers;
#[cfg(feature = "hyper")]
mod hyper_service;
mod id;
#[cfg(any(feature = "tower", feature = "hyper"))]
mod response;
mod scope;
#[cfg(feature = "serde")]
mod serde_impls;
mod spawn;
#[cfg(feature = "tower")]
mod tower_layer;
mod trace_parent;

pub use context::Context;
pub use id::{CorrelationId, InvalidCorrelationId};
pub use scope::{Scope, current, current_context, in_current_scope, scope, sync_scope};
pub use spawn::{spawn, spawn_blocking};
pub use trace_parent::{InvalidTraceParent, TraceId, TraceParent};

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use headers::{CORRELATION_HEADER, TRACEPARENT_HEADER, context_from_headers, insert_header};
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use hyper_service::CorrelationService;
#[cfg(any(feature = "tower", feature = "hyper"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "tower", feature = "hyper"))))]
pub use response::ResponseFuture;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use tower_layer::{Correlation, CorrelationLayer};
