//! Waiting for a log's newest event.

use std::fmt;

use tokio::sync::watch;

/// The newest sequence number of a log, as the log moves it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let head = stoat_events::Head::new(0);
/// let mut watch = head.watch();
/// head.advance(3);
/// assert_eq!(watch.changed().await, Ok(3));
/// # }
/// ```
#[derive(Debug)]
pub struct Head(watch::Sender<u64>);

impl Head {
    /// Begins at `last`: the newest sequence number, 0 for an empty log.
    pub fn new(last: u64) -> Self {
        Self(watch::Sender::new(last))
    }

    /// Moves the head to `last` and wakes all watches; a smaller number than the
    /// present one, which concurrent appends can bring, changes nothing.
    pub fn advance(&self, last: u64) {
        self.0.send_if_modified(|head| {
            let newer = last > *head;
            if newer {
                *head = last;
            }
            newer
        });
    }

    /// Follows the head from where it is now.
    pub fn watch(&self) -> HeadWatch {
        HeadWatch(self.0.subscribe())
    }
}

/// Follows the [`Head`] of a log.
#[derive(Debug, Clone)]
pub struct HeadWatch(watch::Receiver<u64>);

impl HeadWatch {
    /// Waits until the head has moved since the last call, and returns it.
    ///
    /// # Errors
    /// [`LogClosed`] where the log is gone and the head cannot move any more.
    ///
    /// # Cancel safety
    /// A move of the head is not lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<u64, LogClosed> {
        self.0.changed().await.map_err(|_| LogClosed(()))?;
        Ok(*self.0.borrow_and_update())
    }

    /// The newest sequence number now.
    pub fn last(&self) -> u64 {
        *self.0.borrow()
    }
}

/// The log is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogClosed(());

impl fmt::Display for LogClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event log is gone")
    }
}

impl std::error::Error for LogClosed {}
