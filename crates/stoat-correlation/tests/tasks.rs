//! The ID across every way in which work moves between tasks and threads.
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::time::Duration;

use stoat_correlation::{
    Context, CorrelationId, current, current_context, in_current_scope, scope, spawn,
    spawn_blocking, sync_scope,
};
use tokio::task::{JoinSet, yield_now};

fn id(text: &str) -> CorrelationId {
    CorrelationId::parse(text).unwrap()
}

async fn later() -> Option<CorrelationId> {
    yield_now().await;
    current()
}

#[test]
fn there_is_none_outside_of_a_runtime() {
    assert_eq!((current(), current_context()), (None, None));
    sync_scope(id("r1"), || assert_eq!(current(), Some(id("r1"))));
    assert_eq!(current(), None);
}

#[tokio::test]
async fn kept_across_await_join_and_select() {
    assert_eq!(later().await, None);
    scope(id("r1"), async {
        assert_eq!(current(), Some(id("r1")));
        assert_eq!(later().await, Some(id("r1")));
        let (a, b) = tokio::join!(later(), async { later().await });
        assert_eq!((a, b), (Some(id("r1")), Some(id("r1"))));
        tokio::select! {
            seen = later() => assert_eq!(seen, Some(id("r1"))),
            () = std::future::pending() => unreachable!(),
        }
    })
    .await;
    assert_eq!(later().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kept_by_the_spawn_helpers() {
    scope(id("r1"), async {
        let nested = spawn(async { spawn(later()).await.unwrap() });
        assert_eq!(nested.await.unwrap(), Some(id("r1")));

        let blocking = spawn_blocking(|| sync_scope(id("inner"), current));
        assert_eq!(blocking.await.unwrap(), Some(id("inner")));
        assert_eq!(spawn_blocking(current).await.unwrap(), Some(id("r1")));

        let mut set = JoinSet::new();
        for _ in 0..8 {
            set.spawn(in_current_scope(later()));
        }
        assert_eq!(set.join_all().await, vec![Some(id("r1")); 8]);
    })
    .await;
}

#[tokio::test]
async fn lost_by_bare_spawns() {
    scope(id("r1"), async {
        #[expect(clippy::disallowed_methods, reason = "shows what the helper is for")]
        let task = tokio::spawn(later());
        assert_eq!(task.await.unwrap(), None);

        #[expect(clippy::disallowed_methods, reason = "shows what the helper is for")]
        let blocking = tokio::task::spawn_blocking(current);
        assert_eq!(blocking.await.unwrap(), None);

        let mut set = JoinSet::new();
        set.spawn(later());
        assert_eq!(set.join_all().await, [None]);
    })
    .await;
}

#[tokio::test]
async fn a_spawned_task_keeps_it_after_its_scope_has_ended() {
    let task = sync_scope(id("r1"), || {
        spawn(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            current()
        })
    });
    assert_eq!(current(), None);
    assert_eq!(task.await.unwrap(), Some(id("r1")));
}

#[tokio::test]
async fn spawned_without_a_context_there_is_none() {
    assert_eq!(spawn(later()).await.unwrap(), None);
    assert_eq!(spawn_blocking(current).await.unwrap(), None);
}

/// A runtime that blocks inside a scope polls foreign tasks in it.
#[test]
fn a_task_spawned_outside_sees_no_scope_that_a_runtime_blocks_in() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let guard = runtime.enter();
    let task = spawn(later());
    drop(guard);
    sync_scope(id("r1"), || {
        assert_eq!(runtime.block_on(task).unwrap(), None);
        assert_eq!(runtime.block_on(later()), Some(id("r1")));
    });
}

#[tokio::test]
async fn scopes_nest_and_the_inner_one_wins() {
    scope(id("outer"), async {
        assert_eq!(scope(id("inner"), later()).await, Some(id("inner")));
        assert_eq!(later().await, Some(id("outer")));
        let seen = sync_scope(id("sync"), || {
            sync_scope(id("deep"), || assert_eq!(current(), Some(id("deep"))));
            current()
        });
        assert_eq!(seen, Some(id("sync")));
        assert_eq!(later().await, Some(id("outer")));
    })
    .await;
}

#[tokio::test]
async fn two_scopes_on_one_task_never_mix() {
    async fn steps(name: &'static str) {
        scope(id(name), async {
            for _ in 0..100 {
                assert_eq!(later().await, Some(id(name)));
            }
        })
        .await;
    }
    tokio::join!(steps("a"), steps("b"), async {
        for _ in 0..100 {
            assert_eq!(later().await, None);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_scopes_on_many_workers_never_mix() {
    let mut set = JoinSet::new();
    for n in 0..64 {
        let own = id(&format!("r{n}"));
        set.spawn(scope(own.clone(), async move {
            for _ in 0..50 {
                assert_eq!(later().await, Some(own.clone()));
                assert_eq!(spawn(later()).await.unwrap(), Some(own.clone()));
            }
        }));
    }
    set.join_all().await;
}

#[tokio::test]
async fn a_panic_in_a_spawned_scope_leaves_the_worker_clean() {
    let task = spawn(scope(id("r1"), async {
        yield_now().await;
        panic!("expected");
    }));
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(later().await, None);
    assert_eq!(spawn(later()).await.unwrap(), None);
}

#[tokio::test]
async fn a_cancelled_scope_leaves_the_outer_one() {
    scope(id("outer"), async {
        let inner = scope(id("inner"), std::future::pending::<()>());
        assert!(
            tokio::time::timeout(Duration::from_millis(5), inner)
                .await
                .is_err()
        );
        assert_eq!(current(), Some(id("outer")));
    })
    .await;
}

#[tokio::test]
async fn a_captured_context_runs_other_work() {
    let captured = scope(id("r1"), async { Context::capture().unwrap() }).await;
    assert_eq!(captured.clone().run(later()).await, Some(id("r1")));
    assert_eq!(captured.run_sync(current), Some(id("r1")));
    assert_eq!(current(), None);
}
