//! Programs by other authors that encrypt, decrypt and sign Web Push: `http_ece`, `py-vapid` and `pywebpush` for Python.
//!
//! Invariant: they share no code with the gateway or with the fakes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::skipped;

/// Runs a script of `tests/independent/` with a line of JSON for each of `inputs`; the objects that it writes. `None`, and
/// the test counts as skipped, where the libraries are not installed.
///
/// # Panics
/// If the script fails, or writes something else; with `CI=true` also without the libraries.
pub fn python(script: &str, inputs: &[Value]) -> Option<Vec<Value>> {
    static IS_INSTALLED: OnceLock<bool> = OnceLock::new();
    let imports = || {
        let mut python = Command::new("python3");
        python.args(["-c", "import http_ece, py_vapid, pywebpush"]).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    };
    if !IS_INSTALLED.get_or_init(imports) {
        skipped::test("http_ece, py-vapid and pywebpush (pip install pywebpush)");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent").join(script);
    let mut python = Command::new("python3");
    Some(run(python.arg(path), inputs))
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
