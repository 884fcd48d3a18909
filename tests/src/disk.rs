//! A small disk of its own, for tests that fill it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A file system in memory; given back when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// A disk of so many MiB; `None`, with a word on standard error, where this user may not
    /// mount one.
    pub fn mount(mebibytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={mebibytes}m");
        let words = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        if !run("mount", &words, folder.path()) {
            eprintln!("skipped: a file system cannot be mounted here");
            return None;
        }
        Some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it but for so many bytes.
    pub fn fill(&self, but: u64) {
        let mut file = File::create(self.filler()).expect("a file");
        // Until it takes no more, and then back.
        let piece = vec![7; 64 << 10];
        while file.write_all(&piece).is_ok() {}
        let len = file.metadata().expect("a length").len();
        file.set_len(len.saturating_sub(but))
            .expect("a shorter file");
    }

    /// Takes away what [`fill`](Self::fill) wrote.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler");
    }

    /// Lets nothing more be written to it.
    pub fn make_read_only(&self) {
        assert!(
            run("mount", &["-o", "remount,ro"], self.path()),
            "remounted"
        );
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while something on it is still open.
        run("umount", &["-l"], self.path());
    }
}

fn run(program: &str, words: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(words).arg(path).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
