//! What the kernel tells of a process and of the machine, out of `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// A reading of the processor time of a process.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    /// Nanoseconds of each thread, exact.
    threads: BTreeMap<u32, u64>,
    /// User and system time of the process, in steps of 10 ms; ended threads included.
    coarse: u64,
}

/// Nanoseconds per tick of `/proc/PID/stat`: the kernel shows 100 of them per second everywhere.
const TICK: u64 = 10_000_000;

impl Cpu {
    /// Reads the processor time of all threads of a process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let mut cpu = Self::default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may itself hold spaces.
        if let Some((_, fields)) = stat.rsplit_once(')') {
            let fields = fields.split_whitespace().skip(11).take(2);
            let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
            cpu.coarse = ticks * TICK;
        }
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let id = task.file_name().to_string_lossy().parse();
            let time = fs::read_to_string(task.path().join("schedstat"));
            let time = time.ok().and_then(|text| first_number(&text));
            if let (Ok(id), Some(time)) = (id, time) {
                cpu.threads.insert(id, time);
            }
        }
        cpu
    }

    /// Nanoseconds since an earlier reading; the coarse ones when a thread has ended in between
    /// or the kernel keeps no exact ones.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> u64 {
        let sum = |cpu: &Self| cpu.threads.values().sum::<u64>();
        let ended = earlier
            .threads
            .keys()
            .any(|id| !self.threads.contains_key(id));
        match sum(self).checked_sub(sum(earlier)) {
            Some(exact) if exact > 0 && !ended => exact,
            _ => self.coarse.saturating_sub(earlier.coarse),
        }
    }
}

/// The resident memory of a process in bytes.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(first_number).unwrap_or(0) * 1024
}

/// How many descriptors a process has open.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The model of the processor.
#[must_use]
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    let model = lines.find(|(name, _)| name.trim() == "model name");
    model.map_or("unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

/// The kernel's release.
#[must_use]
pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(threads: &[(u32, u64)], coarse: u64) -> Cpu {
        Cpu {
            threads: threads.iter().copied().collect(),
            coarse,
        }
    }

    #[test]
    fn exact_times_unless_a_thread_has_ended() {
        let before = cpu(&[(1, 100), (2, 50)], 1000);
        assert_eq!(cpu(&[(1, 130), (2, 50), (3, 5)], 9000).since(&before), 35);
        assert_eq!(cpu(&[(1, 900)], 9000).since(&before), 8000);
        assert_eq!(cpu(&[], 9000).since(&cpu(&[], 0)), 9000);
    }

    #[test]
    fn our_own_process_is_readable() {
        let own = std::process::id();
        assert!(resident(own) > 100_000);
        assert!(descriptors(own) >= 3);
        assert!(!Cpu::of(own).threads.is_empty());
    }
}
