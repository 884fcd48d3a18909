//! A correlation ID crosses an in-process queue of JSON rows.
//!
//! `cargo run -p stoat-correlation --example job_queue`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use serde::{Deserialize, Serialize};
use stoat_correlation::{Context, CorrelationId, current, scope, spawn};
use tokio::sync::mpsc;

/// A row of the queue; in a database the context would be a column of its own.
#[derive(Serialize, Deserialize)]
struct Job {
    project: u64,
    context: Option<Context>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (queue, rows) = mpsc::channel(16);
    let worker = spawn(work(rows));

    for (id, project) in [("request-a", 1), ("request-b", 2)] {
        scope(CorrelationId::parse(id)?, handle_request(project, &queue)).await?;
    }
    // Made outside of any request: its work runs without an ID.
    handle_request(3, &queue).await?;

    drop(queue);
    worker.await?;
    Ok(())
}

/// The request only queues the job, and is long answered when the worker runs it.
async fn handle_request(project: u64, queue: &mpsc::Sender<String>) -> Result<(), Box<dyn Error>> {
    let job = Job {
        project,
        context: Context::capture(),
    };
    let row = serde_json::to_string(&job)?;
    println!("queued  {row}");
    queue.send(row).await?;
    Ok(())
}

async fn work(mut rows: mpsc::Receiver<String>) {
    while let Some(row) = rows.recv().await {
        match serde_json::from_str(&row) {
            Ok(Job {
                project,
                context: Some(context),
            }) => context.run(scan(project)).await,
            Ok(Job {
                project,
                context: None,
            }) => scan(project).await,
            Err(error) => println!("refused a row: {error}"),
        }
    }
}

async fn scan(project: u64) {
    match current() {
        Some(id) => println!("scanned project {project} for {id}"),
        None => println!("scanned project {project} for no request"),
    }
}
