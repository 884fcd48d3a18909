//! The server under test as a child process: started on its own core, ended with us.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

/// Lets this process hold as many descriptors as the machine grants it.
///
/// # Errors
///
/// The kernel refuses, which it does not do below the maximum.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(rustix::process::setrlimit(Resource::Nofile, raised)?)
}

/// Keeps the calling thread, and what it starts from now on, on so many cores from this one on.
///
/// # Errors
///
/// There are no such cores, or they are not ours to use.
pub fn pin(core: usize, count: usize) -> io::Result<()> {
    let own = cores()?;
    let mut set = CpuSet::new();
    for core in core..core.saturating_add(count) {
        if !own.contains(&core) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        set.set(core);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The cores that this process may use.
///
/// # Errors
///
/// The kernel does not tell.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Becomes the program of a command line; comes back only when that fails.
///
/// The program dies with the process that started us, so that none is left behind.
#[must_use]
pub fn become_program(command: &[String]) -> io::Error {
    let [program, args @ ..] = command else {
        return io::Error::from(io::ErrorKind::InvalidInput);
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    Command::new(program).args(args).exec()
}

/// A server that ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a program with these arguments; what it prints to standard output is not kept.
    ///
    /// # Errors
    ///
    /// There is no such program.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended by itself in between.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            if self.has_ended() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
