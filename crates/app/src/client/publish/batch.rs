//! Cutting lines of input into batches.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use tokio::time::{Instant, timeout_at};

/// Most lines of a batch.
const MOST_LINES: usize = 500;

/// Most bytes of a batch of more than one line.
const MOST_BYTES: usize = 256 << 10;

/// Longest line that is read: the largest event that a server can take, and its envelope.
const LONGEST_LINE: usize = 65 << 20;

/// A pause of the input for so long sends what there is.
const PAUSE: Duration = Duration::from_millis(50);

/// No line is held back for longer, even if the input never pauses.
const LONGEST_HOLD: Duration = Duration::from_millis(250);

/// Lines to be published together, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The lines, each with its line break.
    pub(super) body: Vec<u8>,
    /// The number of each line in the input, from 1.
    pub(super) numbers: Vec<u64>,
}

impl Batch {
    /// The first and the last line.
    pub(super) fn range(&self) -> (u64, u64) {
        let number = |number: Option<&u64>| number.copied().unwrap_or_default();
        (number(self.numbers.first()), number(self.numbers.last()))
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= MOST_LINES || self.body.len() >= MOST_BYTES
    }

    /// Whether the line goes in; the first one always does.
    fn has_room(&self, line: &Line) -> bool {
        self.numbers.is_empty() || self.body.len() + line.text.len() < MOST_BYTES
    }

    fn push(&mut self, line: Line) {
        self.body.extend_from_slice(&line.text);
        self.body.push(b'\n');
        self.numbers.push(line.number);
    }
}

/// The batches of an input. Blank lines are skipped, and counted.
pub(super) struct Batches<R> {
    lines: Lines<R>,
    /// Read, but without room in the batch before.
    held: Option<Line>,
    /// Met while a batch was begun; told after that batch.
    error: Option<io::Error>,
    /// Whether the input pauses; a file does not, and is always cut in the same places.
    pauses: bool,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    pub(super) fn new(input: R, pauses: bool) -> Self {
        Self {
            lines: Lines::new(input),
            held: None,
            error: None,
            pauses,
        }
    }

    /// Waits for the next batch; nothing at the end of the input.
    pub(super) async fn next(&mut self) -> io::Result<Option<Batch>> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut batch = Batch::default();
        let mut begun = None;
        loop {
            let line = match self.held.take() {
                Some(line) => Ok(Some(line)),
                None => match self.deadline(begun) {
                    None => self.lines.next().await,
                    Some(deadline) => match timeout_at(deadline, self.lines.next()).await {
                        Ok(line) => line,
                        Err(_) => return Ok(Some(batch)),
                    },
                },
            };
            match line {
                Ok(Some(line)) if line.text.trim_ascii().is_empty() => {}
                Ok(Some(line)) if batch.has_room(&line) => {
                    batch.push(line);
                    if batch.is_full() {
                        return Ok(Some(batch));
                    }
                    begun.get_or_insert_with(Instant::now);
                }
                Ok(Some(line)) => {
                    self.held = Some(line);
                    return Ok(Some(batch));
                }
                Ok(None) => return Ok(Some(batch).filter(|batch| !batch.numbers.is_empty())),
                Err(error) if batch.numbers.is_empty() => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    return Ok(Some(batch));
                }
            }
        }
    }

    /// Until when a batch waits for another line; an empty one waits for ever.
    fn deadline(&self, begun: Option<Instant>) -> Option<Instant> {
        let begun = begun.filter(|_| self.pauses)?;
        Some((Instant::now() + PAUSE).min(begun + LONGEST_HOLD))
    }
}

#[derive(Debug)]
struct Line {
    /// Without its line break.
    text: Vec<u8>,
    number: u64,
}

/// The lines of an input.
struct Lines<R> {
    input: R,
    partial: Vec<u8>,
    number: u64,
    has_ended: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            partial: Vec::new(),
            number: 0,
            has_ended: false,
        }
    }

    /// Waits for the next line. Cancel safe: what was read of it is kept.
    async fn next(&mut self) -> io::Result<Option<Line>> {
        while !self.has_ended {
            let available = self.input.fill_buf().await?;
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if self.partial.len() + taken > LONGEST_LINE {
                self.has_ended = true;
                return Err(io::Error::other(format!(
                    "line {} is longer than {} MiB",
                    self.number + 1,
                    LONGEST_LINE >> 20
                )));
            }
            self.partial.extend_from_slice(&available[..taken]);
            if available.is_empty() {
                // Asked again, a terminal would go on.
                self.has_ended = true;
            } else {
                self.input.consume(taken + usize::from(end.is_some()));
            }
            if end.is_some() || (self.has_ended && !self.partial.is_empty()) {
                self.number += 1;
                let text = std::mem::take(&mut self.partial);
                let number = self.number;
                return Ok(Some(Line { text, number }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, BufReader};

    async fn all(input: &[u8]) -> Vec<Batch> {
        // A small buffer, so that lines cross its borders.
        let mut batches = Batches::new(BufReader::with_capacity(7, input), false);
        let mut all = Vec::new();
        while let Some(batch) = batches.next().await.unwrap() {
            all.push(batch);
        }
        all
    }

    #[tokio::test]
    async fn skips_blank_lines_and_counts_them() {
        let batches = all(b"\n{\"a\":1}\n \t\r\n\n{\"b\":22222}\r\n{}").await;
        assert_eq!(
            batches,
            [Batch {
                body: b"{\"a\":1}\n{\"b\":22222}\r\n{}\n".to_vec(),
                numbers: vec![2, 5, 6],
            }]
        );
        assert_eq!(batches[0].range(), (2, 6));
        assert!(all(b"").await.is_empty());
        assert!(all(b"\n\n  ").await.is_empty());
    }

    #[tokio::test]
    async fn a_batch_is_bounded() {
        let numbers = |batches: &[Batch]| -> Vec<usize> {
            batches.iter().map(|batch| batch.numbers.len()).collect()
        };
        assert_eq!(numbers(&all(&b"{}\n".repeat(1001)).await), [500, 500, 1]);
        let line = format!("{}\n", "x".repeat(100 << 10));
        let batches = all(line.repeat(5).as_bytes()).await;
        assert_eq!(numbers(&batches), [2, 2, 1]);
        assert!(batches.iter().all(|batch| batch.body.len() <= MOST_BYTES));
        let long = format!("{{}}\n{}\n{{}}\n", "x".repeat(MOST_BYTES));
        assert_eq!(numbers(&all(long.as_bytes()).await), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_sends_what_there_is() {
        let (mut writer, reader) = tokio::io::duplex(1000);
        let mut batches = Batches::new(BufReader::new(reader), true);
        writer.write_all(b"{}\n{}\n{\"half").await.unwrap();
        let start = Instant::now();
        assert_eq!(batches.next().await.unwrap().unwrap().numbers, [1, 2]);
        assert_eq!(start.elapsed(), PAUSE);
        writer.write_all(b"\":1}\n").await.unwrap();
        let batch = batches.next().await.unwrap().unwrap();
        assert_eq!(batch.body, b"{\"half\":1}\n");
        drop(writer);
        assert_eq!(batches.next().await.unwrap(), None);
        assert_eq!(batches.next().await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_not_held_back() {
        let (mut writer, reader) = tokio::io::duplex(1000);
        let mut batches = Batches::new(BufReader::new(reader), true);
        let trickle = async {
            for _ in 0..100 {
                writer.write_all(b"{}\n").await.unwrap();
                tokio::time::sleep(PAUSE / 2).await;
            }
        };
        let start = Instant::now();
        tokio::select! {
            () = trickle => panic!("held back"),
            batch = batches.next() => assert!(batch.unwrap().is_some()),
        }
        assert!(start.elapsed() <= LONGEST_HOLD, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_after_the_lines_before_it() {
        let mut input = b"{}\n".to_vec();
        input.resize(LONGEST_LINE + 5, b'x');
        let mut batches = Batches::new(&input[..], false);
        assert_eq!(batches.next().await.unwrap().unwrap().numbers, [1]);
        let error = batches.next().await.unwrap_err();
        assert_eq!(error.to_string(), "line 2 is longer than 65 MiB");
        assert_eq!(batches.next().await.unwrap(), None);
    }
}
