//! The real binary as an operator meets it: its commands, its settings, its first lines and its complaints.
//!
//! Invariant: the binary sees no environment but what a test gives it.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has nothing better to do than panic")]

mod commands;
mod environment;
mod example_config;
mod start;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binary, without any environment.
fn identity(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_identity"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs `identity check-config` on these settings, which lie in `folder`.
fn check_config(folder: &Path, toml: &str) -> Output {
    let file = folder.join("identity.toml");
    std::fs::write(&file, toml).unwrap();
    identity(&["check-config", "--config"]).arg(file).env("HOME", folder).output().unwrap()
}

/// Both of its outputs, for looking for something in them.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A path from the root of the workspace.
fn in_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
