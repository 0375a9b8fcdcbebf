//! Tests and checks that did not run because a program is not installed.
//!
//! Invariant: each of them is listed at the end of the test process, and fails instead with `CI=true`.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::options;

/// Prints its input, each line once, when the process that writes to it has ended.
const SCRIPT: &str = r#"lines=$(sort -u); printf '\nSKIPPED, because a program is not installed:\n%s\n' "$lines" >&2"#;

/// Lists `what` as skipped at the end of this process.
///
/// # Panics
/// If `CI=true`.
pub fn report(what: &str) {
    static LIST: Mutex<Option<Child>> = Mutex::new(None);
    assert!(!options::is_ci(), "with CI=true nothing is skipped: {what}");
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    let shell = list.get_or_insert_with(|| {
        Command::new("sh").args(["-c", SCRIPT]).stdin(Stdio::piped()).spawn().expect("there is a shell")
    });
    let mut input = shell.stdin.as_ref().expect("its input is a pipe");
    writeln!(input, "  {test}: {what}").expect("the shell reads until this process ends");
}
