//! Pages of the reference that are written from the code, and a test that holds them against it.

use std::fs;
use std::path::Path;

/// With this variable the tests write the pages.
const WRITE: &str = "STOAT_WRITE_REFERENCE";

/// Fails where the page below `docs/reference` is not this text.
pub(crate) fn hold(name: &str, text: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = root.join("docs/reference").join(name);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&page, text).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == text,
        "docs/reference/{name} is old: {WRITE}=1 cargo nextest run -p stoat the_reference"
    );
}
