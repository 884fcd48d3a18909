//! `setup`: what the tests need beyond Rust and a C compiler; does nothing where it is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::{root, tools};
use crate::{Result, process};

/// Asks for cargo-nextest to be compiled where it is missing; that takes minutes.
pub(crate) const INSTALL_NEXTEST: &str = "STOAT_INSTALL_NEXTEST";

/// The browser that the tests start.
const CHROMIUM: &str = "/usr/bin/chromium";

pub(crate) fn run() -> Result {
    system_packages()?;
    python_packages()?;
    node_packages()?;
    proxies()?;
    nextest()
}

pub(crate) fn has_nextest() -> bool {
    process::cargo(["nextest", "--version"]).works()
}

/// Node, npm, curl, OpenSSL, Chromium, a NATS server and a Python that can make virtual environments, from
/// Debian where missing.
fn system_packages() -> Result {
    let mut missing = Vec::new();
    if !process::program("node", ["--version"]).works() {
        missing.push("nodejs");
    }
    if !node_is_ready(&pinned_node()?) && !process::program("npm", ["--version"]).works() {
        missing.push("npm");
    }
    if !venv_is_ready(&pinned_python()?) && usable_python().is_none() {
        missing.extend(["python3", "python3-venv"]);
    }
    if !process::program("curl", ["--version"]).works() {
        missing.push("curl");
    }
    if !process::program("openssl", ["version"]).works() {
        missing.push("openssl");
    }
    // Other browsers of that name do not do: Ubuntu's is a stub for a snap.
    if !process::program(CHROMIUM, ["--version"]).works() {
        missing.push("chromium");
    }
    // Debian puts it where not every user looks.
    let is_nats = |path: &&str| process::program(path, ["--version"]).works();
    if !["nats-server", "/usr/sbin/nats-server"].iter().any(is_nats) {
        missing.push("nats-server");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let advice = format!(
        "the tests need Node with npm, Python 3.10 or newer with venv, curl, openssl, nats-server \
         and {CHROMIUM}; on Debian: apt-get install {list}"
    );
    if !process::program("apt-get", ["--version"]).works() {
        return Err(advice.into());
    }
    let as_root = become_root().ok_or(advice)?;
    println!("setup: installing {list} from Debian");
    apt_get(as_root, &["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(as_root, &[&install, missing.as_slice()].concat())
}

fn apt_get(as_root: &[&str], args: &[&str]) -> Result {
    let line = [as_root, &["apt-get", "--quiet"], args].concat();
    let (program, args) = line.split_first().ok_or("no command")?;
    process::program(program, args.iter().copied())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// What to put before a command that needs root: nothing, or a sudo that asks nobody.
fn become_root() -> Option<&'static [&'static str]> {
    let user = process::program("id", ["-u"]).output().unwrap_or_default();
    if user.trim() == "0" {
        Some(&[])
    } else if process::program("sudo", ["-n", "true"]).works() {
        Some(&["sudo", "-n", "--preserve-env=DEBIAN_FRONTEND"])
    } else {
        None
    }
}

/// The first Python that can make a virtual environment. The one in `PATH` may be the shim of
/// a version manager with no version behind it, and Debian ships `venv` without `ensurepip`.
pub(crate) fn usable_python() -> Option<PathBuf> {
    let probe = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    ["python3", "/usr/bin/python3"]
        .map(PathBuf::from)
        .into_iter()
        .find(|python| process::program(python, ["-c", probe]).works())
}

fn venv() -> PathBuf {
    tools().join("venv")
}

fn venv_python() -> PathBuf {
    venv().join("bin").join("python")
}

fn pinned_python() -> Result<String> {
    read(&clients().join("requirements.txt"))
}

/// Whether the pins are installed, and the Python that they were installed for still runs.
fn venv_is_ready(pins: &str) -> bool {
    is_stamped(&venv(), pins) && process::program(venv_python(), ["--version"]).works()
}

fn python_packages() -> Result {
    let pins = pinned_python()?;
    if venv_is_ready(&pins) {
        return Ok(());
    }
    let python = usable_python().ok_or("no Python that can make a virtual environment")?;
    let folder = venv();
    let folder_text = folder.display().to_string();
    println!("setup: Python packages into {folder_text}");
    process::program(python, ["-m", "venv", "--clear", &folder_text]).run()?;
    process::program(
        venv_python(),
        [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
            "tests/clients/requirements.txt",
        ],
    )
    .run()?;
    stamp(&folder, &pins)
}

fn clients() -> PathBuf {
    root().join("tests").join("clients")
}

fn node_modules() -> PathBuf {
    clients().join("node_modules")
}

fn pinned_node() -> Result<String> {
    read(&clients().join("package-lock.json"))
}

fn node_is_ready(pins: &str) -> bool {
    is_stamped(&node_modules(), pins)
}

fn node_packages() -> Result {
    let pins = pinned_node()?;
    if node_is_ready(&pins) {
        return Ok(());
    }
    println!("setup: Node packages into {}", node_modules().display());
    process::program("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .within(&clients())
        .run()?;
    stamp(&node_modules(), &pins)
}

/// nginx and Caddy, which stand before the server in some tests: where they are missing, their
/// files alone out of Debian's packages. Installed ones would be started as services.
fn proxies() -> Result {
    for (name, version) in [("nginx", "-v"), ("caddy", "version")] {
        let places = [PathBuf::from(name), Path::new("/usr/sbin").join(name)];
        let is_there = |place: PathBuf| process::program(place, [version]).works();
        if places.into_iter().any(is_there) {
            continue;
        }
        println!("setup: {name} from Debian into {}", tools().display());
        let folder = tools().join("debian").join(name);
        fs::create_dir_all(&folder)?;
        let download = || process::program("apt-get", ["--quiet", "download", name]);
        if download().within(&folder).run().is_err() {
            let advice = format!("the tests need {name}; on Debian: apt-get install {name}");
            apt_get(become_root().ok_or(advice)?, &["update"])?;
            download().within(&folder).run()?;
        }
        unpack(name, &folder)?;
        if !process::program(name, [version]).works() {
            let what = "does not run here alone; install it with apt-get";
            return Err(format!("{name} out of its package {what}").into());
        }
    }
    Ok(())
}

/// Brings the program out of the package in this folder to where our programs are found.
fn unpack(name: &str, folder: &Path) -> Result {
    let package = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| format!("apt-get has left no package of {name}"))?;
    let package = package.display().to_string();
    process::program("dpkg-deb", ["--extract", &package, "."])
        .within(folder)
        .run()?;
    let bin = tools().join("bin");
    fs::create_dir_all(&bin)?;
    let places = ["usr/sbin", "usr/bin"].map(|place| folder.join(place).join(name));
    let program = places.into_iter().find(|place| place.is_file());
    let program = program.ok_or_else(|| format!("{name} is not in its package"))?;
    fs::copy(program, bin.join(name))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn nextest() -> Result {
    let wanted = std::env::var(INSTALL_NEXTEST).is_ok_and(|value| value == "1");
    if !wanted || has_nextest() {
        return Ok(());
    }
    println!("setup: compiling cargo-nextest, which takes minutes");
    let folder = tools().display().to_string();
    process::cargo(["install", "cargo-nextest", "--locked", "--root", &folder]).run()
}

/// The stamp is the text of the pins, inside what they made: it goes when the folder goes.
fn is_stamped(folder: &Path, pins: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == pins)
}

fn stamp(folder: &Path, pins: &str) -> Result {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(STAMP), pins)?;
    Ok(())
}

const STAMP: &str = ".installed-pins";

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
