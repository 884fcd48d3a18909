//! The program around the server: its one line of output, signals, and exit codes.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program, ended with the test.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoat"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{line:?}"));
        Self {
            address: address.trim_end().to_owned(),
            child,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// A publish whose body does not come holds up the drain.
    fn hold_up(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = "POST /api/v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                    content-length: 12\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        // Once it may go on, it is counted.
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        stream
    }

    fn exit_code(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_ends_it_cleanly() {
    for name in ["TERM", "INT"] {
        let mut program = Program::start(&[]);
        program.signal("HUP");
        program.signal(name);
        assert_eq!(program.exit_code(), Some(0), "{name}");
        let mut rest = String::new();
        let out = program.child.stdout.as_mut().unwrap();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line and no more");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut program = Program::start(&["--drain-timeout", "60s"]);
    let _held = program.hold_up();
    program.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(program.child.try_wait().unwrap(), None, "it drains");
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(1));
}

#[test]
fn an_address_in_use_is_exit_1() {
    let program = Program::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_stoat"))
        .args(["--listen", &program.address])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = format!(
        "stoat: cannot listen on {}: the address is already in use\n",
        program.address
    );
    assert!(text.ends_with(&expected), "{text}");
}
