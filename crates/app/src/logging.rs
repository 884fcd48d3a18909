//! Log lines on standard error: text for people, one JSON object a line for programs.
//!
//! The fields of the spans around an event, above all `correlation_id`, stand in its line beside its own.

mod line;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};

use time::OffsetDateTime;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::settings::LogFormat;
use line::{Fields, Line};

/// Why logging did not start.
#[derive(Debug)]
pub struct LoggingError(&'static str);

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for LoggingError {}

/// Sends the log lines of the whole process to standard error.
///
/// `level` holds `tracing_subscriber` directives, such as the setting `log_level`. Records of the `log`
/// crate are not taken in. A field longer than 8 KiB is cut.
///
/// # Errors
/// The directives are malformed, or logging has been started before.
pub fn init(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let subscriber = subscriber(
        format,
        level,
        io::stderr().is_terminal(),
        io::stderr,
        OffsetDateTime::now_utc,
    )?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| LoggingError("logging is already started"))
}

/// What [`init`] installs, with the writer and the clock passed in.
fn subscriber<W>(
    format: LogFormat,
    level: &str,
    is_terminal: bool,
    writer: W,
    clock: fn() -> OffsetDateTime,
) -> Result<impl Subscriber + Send + Sync, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        // It has a line for each attempt to connect; ours say the same once.
        "info" => "info,async_nats=off",
        level => level,
    };
    let filter =
        EnvFilter::try_new(level).map_err(|_| LoggingError("the log level is malformed"))?;
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto | LogFormat::Text => Style::Text { ansi: is_terminal },
    };
    Ok(tracing_subscriber::registry().with(filter).with(Lines {
        style,
        writer,
        clock,
    }))
}

#[derive(Clone, Copy)]
enum Style {
    Json,
    Text { ansi: bool },
}

/// Writes each event as one line, in one write.
struct Lines<W> {
    style: Style,
    writer: W,
    clock: fn() -> OffsetDateTime,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Read first: a value's own formatting may log, and the extensions are behind a lock.
        let mut recorded = Fields::default();
        record.record(&mut recorded);
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.overwrite(recorded);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the innermost span outwards, so that the inner one wins.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.fill(outer);
            }
        }
        let metadata = event.metadata();
        let line = Line {
            time: (self.clock)(),
            level: *metadata.level(),
            target: metadata.target(),
            fields,
        };
        let text = match self.style {
            Style::Json => line.to_json(),
            Style::Text { ansi } => line.to_text(ansi),
        };
        // A log that cannot be written has nowhere to say so.
        let _ = io::Write::write_all(&mut self.writer.make_writer_for(metadata), text.as_bytes());
    }
}
