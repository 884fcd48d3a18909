//! A pause between two rounds, to the microsecond where the system has a timer for that.

use std::time::Duration;

/// Shorter than this, going to sleep costs more than it brings.
#[cfg(any(target_os = "android", target_os = "linux"))]
const SHORTEST: Duration = Duration::from_micros(50);
/// What the runtime's timer can tell apart.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const SHORTEST: Duration = Duration::from_millis(1);

/// What one task pauses with.
pub(super) struct Pause(Timer);

impl Pause {
    /// To be called within a runtime.
    pub(super) fn new() -> Self {
        Self(Timer::new())
    }

    /// Waits for `time`, or not at all where that is too short to be worth it.
    /// Cancel safe.
    pub(super) async fn wait(&self, time: Duration) {
        if time >= SHORTEST {
            self.0.wait(time).await;
        }
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
use precise::Timer;

/// A timer of the kernel, whose grain is finer than the millisecond of the runtime's.
#[cfg(any(target_os = "android", target_os = "linux"))]
mod precise {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// Without one, as when descriptors are used up, the runtime's timer has to do.
    pub(super) struct Timer(Option<AsyncFd<OwnedFd>>);

    impl Timer {
        pub(super) fn new() -> Self {
            Self(create().ok())
        }

        pub(super) async fn wait(&self, time: Duration) {
            let waited = match &self.0 {
                Some(timer) => expire(timer, time).await.is_ok(),
                None => false,
            };
            if !waited {
                tokio::time::sleep(time).await;
            }
        }
    }

    fn create() -> io::Result<AsyncFd<OwnedFd>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "unsound only where a type changes its descriptor, which `OwnedFd` does not"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE)
    }

    async fn expire(timer: &AsyncFd<OwnedFd>, time: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).map_err(io::Error::other)?,
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = timer.readable().await?;
            let mut expirations = [0; 8];
            // Where an earlier wait was given up, what told of it may be left over.
            if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                read?;
                return Ok(());
            }
        }
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
struct Timer;

#[cfg(not(any(target_os = "android", target_os = "linux")))]
impl Timer {
    fn new() -> Self {
        Self
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn takes_as_long_as_it_says_and_can_be_taken_again() {
        let pause = Pause::new();
        for micros in [300, 1500, 700] {
            let time = Duration::from_micros(micros);
            let started = Instant::now();
            pause.wait(time).await;
            assert!(started.elapsed() >= time);
        }
    }

    #[tokio::test]
    async fn is_not_shortened_by_one_that_was_given_up() {
        let pause = Pause::new();
        let given_up = tokio::time::timeout(Duration::ZERO, pause.wait(Duration::from_secs(3600)));
        assert!(given_up.await.is_err());
        let time = Duration::from_millis(20);
        let started = Instant::now();
        pause.wait(time).await;
        assert!(started.elapsed() >= time);
    }
}
