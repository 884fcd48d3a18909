//! `ci`: all checks in order, up to the first that fails.

use std::time::Instant;

use crate::{Result, autobahn, bench, clippy, deny, doc, fmt, fuzz, model, package, test, tidy};

type Step = fn() -> Result;

/// Cheap ones first; tests last, so that the summaries of the test runners end the output.
const STEPS: &[(&str, Step)] = &[
    ("fmt", || fmt::run(false)),
    ("tidy", tidy::run),
    ("deny", deny::run),
    ("package", || package::run(false)),
    ("clippy", clippy::run),
    ("doc", doc::run),
    ("fuzz-check", fuzz::check),
    ("model", model::run),
    ("bench-check", bench::check),
    ("autobahn", autobahn::run),
    ("test", test::run),
];

pub(crate) fn run() -> Result {
    for (position, (name, step)) in STEPS.iter().enumerate() {
        println!("== {name}");
        let start = Instant::now();
        let outcome = step();
        let seconds = start.elapsed().as_secs_f64();
        if let Err(error) = outcome {
            return Err(format!(
                "ci stopped at `{name}` after {seconds:.1} s: {error}\n\
                 xtask: `cargo xtask {name}` runs this step alone"
            )
            .into());
        }
        // Nothing follows the summary of the last step's test runner.
        if position + 1 < STEPS.len() {
            println!("== {name} passed in {seconds:.1} s");
        }
    }
    Ok(())
}
