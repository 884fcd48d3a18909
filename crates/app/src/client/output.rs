//! Lines on standard output.

use std::borrow::Cow;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::ClientError;

/// Writes lines, and flushes after each.
pub(super) struct Lines<W>(W);

impl<W: AsyncWrite + Unpin> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }

    /// Prints the text of a JSON value; `false` says that the reader has gone away.
    pub(super) async fn print(&mut self, json: &str) -> Result<bool, ClientError> {
        let mut line = one_line(json).into_owned();
        line.push('\n');
        let written = async {
            self.0.write_all(line.as_bytes()).await?;
            self.0.flush().await
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
        assert!(lines.print("{\"a\":1e400}").await.unwrap());
        assert!(lines.print("{\r\n\"a\": \"\\n\"}\n").await.unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":1e400}\n{  \"a\": \"\\n\"}\n"
        );
    }
}
