//! Lines on standard output.

use std::borrow::Cow;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::ClientError;
use super::colour::paint;

/// Gathers lines, and writes them together.
pub(super) struct Lines<W> {
    writer: W,
    gathered: Vec<u8>,
    colour: bool,
}

impl<W: AsyncWrite + Unpin> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            writer,
            gathered: Vec::new(),
            colour: false,
        }
    }

    /// The same, with the lines in colours.
    pub(super) fn coloured(mut self, colour: bool) -> Self {
        self.colour = colour;
        self
    }

    /// Adds the text of a JSON value as a line.
    pub(super) fn add(&mut self, json: &str) {
        let line = one_line(json);
        let line = match self.colour {
            true => Cow::Owned(paint(&line)),
            false => line,
        };
        self.gathered.extend_from_slice(line.as_bytes());
        self.gathered.push(b'\n');
    }

    /// How many bytes wait to be written.
    pub(super) fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Writes all that was added; `false` says that the reader has gone away.
    pub(super) async fn flush(&mut self) -> Result<bool, ClientError> {
        if self.gathered.is_empty() {
            return Ok(true);
        }
        let lines = std::mem::take(&mut self.gathered);
        let written = async {
            self.writer.write_all(&lines).await?;
            self.writer.flush().await
        };
        match written.await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(ClientError::new(format!(
                "cannot write to standard output: {error}"
            ))),
        }
    }
}

/// A JSON text as one line. Line breaks stand only between the tokens of JSON: a space means the same.
fn one_line(json: &str) -> Cow<'_, str> {
    let json = json.trim_ascii();
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn prints_one_line_each() {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out);
        assert!(lines.flush().await.unwrap());
        lines.add("{\"a\":1e400}");
        lines.add("{\r\n\"a\": \"\\n\"}\n");
        assert_eq!(lines.gathered(), 26);
        assert!(lines.flush().await.unwrap());
        assert_eq!(lines.gathered(), 0);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":1e400}\n{  \"a\": \"\\n\"}\n"
        );
    }
}
