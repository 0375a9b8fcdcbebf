//! Programs by other authors that encrypt, decrypt and sign Web Push: `http_ece`, `py-vapid` and `pywebpush` for Python,
//! `web-push` for Node.js.
//!
//! Invariant: they share no code with the gateway or with the fakes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::skipped;

/// Runs a script of `tests/independent/` in Python with a line of JSON for each of `inputs`; the objects that it writes.
/// `None`, and the test counts as skipped, where the libraries are not installed.
///
/// # Panics
/// If the script fails, or writes something else; with `CI=true` also without the libraries.
pub fn python(script: &str, inputs: &[Value]) -> Option<Vec<Value>> {
    static IS_INSTALLED: OnceLock<bool> = OnceLock::new();
    let check = ["-c", "import http_ece, py_vapid, pywebpush"];
    if !IS_INSTALLED.get_or_init(|| succeeds(Command::new("python3").args(check))) {
        skipped::test("http_ece, py-vapid and pywebpush (pip install pywebpush)");
        return None;
    }
    Some(run(Command::new("python3").arg(path_of(script)), inputs))
}

/// As [`python`], in Node.js.
///
/// # Panics
/// As [`python`].
pub fn node(script: &str, inputs: &[Value]) -> Option<Vec<Value>> {
    static IS_INSTALLED: OnceLock<bool> = OnceLock::new();
    if !IS_INSTALLED.get_or_init(|| succeeds(Command::new("node").args(["-e", "require('web-push')"]))) {
        skipped::test("web-push for Node.js (npm install web-push, and its folder in NODE_PATH)");
        return None;
    }
    Some(run(Command::new("node").arg(path_of(script)), inputs))
}

fn succeeds(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn path_of(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("independent").join(script)
}

fn run(command: &mut Command, inputs: &[Value]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the interpreter starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let lines: String = inputs.iter().map(|input| format!("{input}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("the script ends");
    writer.join().expect("the input is written").expect("the script reads its input");
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    let lines = String::from_utf8(output.stdout).expect("the script writes text");
    lines.lines().map(|line| serde_json::from_str(line).expect("the script writes JSON")).collect()
}
