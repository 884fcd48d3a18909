//! The context as a job's row: through JSON and back, and what is refused on the way in.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stoat_correlation::{Context, CorrelationId, TraceParent, current_context, scope};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Serialize, Deserialize)]
struct Job {
    project: u64,
    context: Option<Context>,
}

#[tokio::test]
async fn restores_the_context_around_the_work() {
    let context = Context::from(CorrelationId::parse("order-4711").unwrap())
        .with_traceparent(TraceParent::parse(PARENT).unwrap());
    let row = scope(context.clone(), async {
        let job = Job {
            project: 7,
            context: Context::capture(),
        };
        serde_json::to_string(&job).unwrap()
    })
    .await;
    assert_eq!(
        row,
        format!(
            r#"{{"project":7,"context":{{"correlation_id":"order-4711","traceparent":"{PARENT}"}}}}"#
        )
    );

    let job: Job = serde_json::from_str(&row).unwrap();
    assert_eq!(job.project, 7);
    let seen = job.context.unwrap().run(async { current_context() }).await;
    assert_eq!(seen, Some(context));
}

#[test]
fn a_missing_traceparent_is_written_as_null_and_may_be_absent() {
    let context = Context::from(CorrelationId::parse("r1").unwrap());
    let value = serde_json::to_value(&context).unwrap();
    assert_eq!(value, json!({"correlation_id": "r1", "traceparent": null}));
    for value in [
        value,
        json!({"correlation_id": "r1"}),
        json!({"correlation_id": "r1", "new": 1}),
    ] {
        assert_eq!(serde_json::from_value::<Context>(value).unwrap(), context);
    }
}

#[test]
fn an_invalid_row_is_refused() {
    for value in [
        json!({}),
        json!({"correlation_id": null}),
        json!({"correlation_id": 7}),
        json!({"correlation_id": ""}),
        json!({"correlation_id": "a\nb"}),
        json!({"correlation_id": "x".repeat(129)}),
        json!({"correlation_id": "r1", "traceparent": "00-x"}),
        json!({"correlation_id": "r1", "traceparent": ""}),
    ] {
        assert!(
            serde_json::from_value::<Context>(value.clone()).is_err(),
            "{value}"
        );
    }
    let error = serde_json::from_str::<Context>(r#"{"correlation_id":"a\u001b[2Jb"}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("correlation_id must be 1 to 128 visible ASCII"),
        "{error}"
    );
    assert!(!error.contains('\u{1b}'), "{error}");
}

proptest! {
    #[test]
    fn every_context_comes_back_as_it_went(
        id in "[!-~]{1,128}",
        parent in prop::option::of("00-[1-9a-f]{32}-[1-9a-f]{16}-0[0-3]"),
    ) {
        let mut context = Context::from(CorrelationId::parse(&id).unwrap());
        if let Some(parent) = &parent {
            context = context.with_traceparent(TraceParent::parse(parent).unwrap());
        }
        let value = serde_json::to_value(&context).unwrap();
        prop_assert_eq!(&value, &json!({"correlation_id": id, "traceparent": parent}));
        prop_assert_eq!(serde_json::from_value::<Context>(value).unwrap(), context);
    }
}
