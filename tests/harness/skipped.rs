//! Tests and checks that did not run, because a program is not installed or because they are about one process.
//!
//! Invariant: each of them is listed at the end of the test process.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::options;

/// Prints its input, each line once, when the process that writes to it has ended.
const SCRIPT: &str = r#"lines=$(sort -u); printf '\nSKIPPED in whole or in part:\n%s\n' "$lines" >&2"#;

/// Lists a test as skipped for want of `program`.
///
/// # Panics
/// If `CI=true`.
pub(crate) fn test(program: &str) {
    assert!(!options::is_ci(), "with CI=true this test must run, but this machine has no {program}");
    check(&format!("needs {program}"));
}

/// Lists a part of a test as skipped, also with `CI=true`.
///
/// # Panics
/// Without a shell.
pub fn check(what: &str) {
    static LIST: Mutex<Option<Child>> = Mutex::new(None);
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    let shell = list.get_or_insert_with(|| {
        Command::new("sh").args(["-c", SCRIPT]).stdin(Stdio::piped()).spawn().expect("there is a shell")
    });
    let mut input = shell.stdin.as_ref().expect("its input is a pipe");
    writeln!(input, "  {test}: {what}").expect("the shell reads until this process ends");
}
