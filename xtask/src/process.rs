//! Starts other programs: no shell between us and them, and every failure names the command.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Result, autobahn, workspace};

/// A program about to run in the workspace root.
pub(crate) struct Process {
    command: Command,
    line: String,
}

/// `cargo`, the same one that runs us.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Process {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    Process::new(Path::new(&program), "cargo", args)
}

/// Any other program, looked up in `PATH` unless it is a path.
pub(crate) fn program<'a>(
    program: impl AsRef<Path>,
    args: impl IntoIterator<Item = &'a str>,
) -> Process {
    let program = program.as_ref();
    Process::new(program, &program.display().to_string(), args)
}

impl Process {
    fn new<'a>(program: &Path, shown: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        let args: Vec<&str> = args.into_iter().collect();
        let mut command = Command::new(program);
        command
            .args(&args)
            .current_dir(workspace::root())
            .env("PATH", path_with_own_tools());
        // `cargo run` describes the package xtask in the environment. Build scripts that
        // watch these variables would be built anew at each change between us and a
        // `cargo` called by hand.
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            if [
                "CARGO_PKG_",
                "CARGO_MANIFEST_",
                "CARGO_BIN_",
                "CARGO_CRATE_",
            ]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        // It is for us, and to stoat an unknown setting.
        command.env_remove(autobahn::FOLDER);
        Self {
            command,
            line: [&[shown], args.as_slice()].concat().join(" "),
        }
    }

    /// Starts it without waiting; its standard output is ours to read.
    pub(crate) fn start(mut self) -> Result<Running> {
        println!("$ {}", self.line);
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `{}`: {error}", self.line))?;
        Ok(Running(child))
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this folder instead of the workspace root.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Shows the command, runs it with our streams, and fails unless it succeeds.
    pub(crate) fn run(mut self) -> Result {
        println!("$ {}", self.line);
        let status = self
            .command
            .status()
            .map_err(|error| format!("cannot start `{}`: {error}", self.line))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{}` failed ({status})", self.line).into())
        }
    }

    /// As [`run`](Self::run); a warning is a failure, too.
    pub(crate) fn run_without_warnings(mut self) -> Result {
        println!("$ {}", self.line);
        let output = self
            .command
            .output()
            .map_err(|error| format!("cannot start `{}`: {error}", self.line))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        print!("{said}");
        if !output.status.success() {
            return Err(format!("`{}` failed ({})", self.line, output.status).into());
        }
        if said.contains("WARN") || said.contains("ERROR") {
            return Err(format!("`{}` warned", self.line).into());
        }
        Ok(())
    }

    /// Runs and shows what it prints; its last line when it succeeds.
    pub(crate) fn last_line(self) -> Result<String> {
        let line = self.line.clone();
        let mut running = self.start()?;
        let mut last = String::new();
        if let Some(output) = &mut running.0.stdout {
            for printed in BufReader::new(output).lines() {
                last = printed?;
                println!("{last}");
            }
        }
        let status = running.0.wait()?;
        if status.success() {
            Ok(last)
        } else {
            Err(format!("`{line}` failed ({status})").into())
        }
    }

    /// Runs silently; its standard output when it succeeds.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start `{}`: {error}", self.line))?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{}` failed ({}): {}", self.line, output.status, why.trim()).into())
        }
    }

    /// Runs silently; whether it is there and succeeds.
    pub(crate) fn works(self) -> bool {
        self.output().is_ok()
    }
}

/// A program that runs beside us; dropping it kills it.
pub(crate) struct Running(Child);

impl Running {
    /// The first line that it prints.
    pub(crate) fn first_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(output) = &mut self.0.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The target that this machine is, as the compiler names it.
pub(crate) fn host() -> Result<String> {
    let about = program("rustc", ["--version", "--verbose"]).output()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .ok_or("rustc does not say what machine it is for")?
        .to_owned())
}

/// Tools that `setup` installed are found before those of the machine.
fn path_with_own_tools() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = workspace::tools().join("bin");
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap_or(path)
}
