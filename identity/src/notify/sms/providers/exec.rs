//! The operator's own program: one run for each message, without a shell.
//!
//! Invariant: only the exit codes that are documented say that nothing was sent: a program that fails in another way
//! may have sent the message before. Values from a request reach the program only on its standard input, as one line of
//! JSON; no argument and no variable contains them.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::super::SmsSetupError;
use super::super::provider::{Outcome, Provider, Reason, Sms};
use super::needed;
use crate::config::ENVIRONMENT_PREFIX;
use crate::config::sms::providers::Exec as Settings;
use crate::domain::originator::Originator;

/// EX_TEMPFAIL of `sysexits.h`: nothing was sent; a retry may succeed.
const TRY_LATER: i32 = 75;
/// EX_UNAVAILABLE of `sysexits.h`: nothing was sent, and a retry would fail alike.
const REFUSED: i32 = 69;
/// EX_NOUSER of `sysexits.h`: the number receives no SMS.
const NUMBER_REFUSED: i32 = 67;

pub(super) struct Exec {
    command: PathBuf,
    args: Vec<String>,
    timeout: Duration,
}

impl Exec {
    pub(super) fn new(settings: &Settings, timeout: Duration) -> Result<Self, SmsSetupError> {
        let command = needed("[sms.exec] command", &settings.command)?.clone();
        Ok(Self { command, args: settings.args.as_slice().to_vec(), timeout })
    }

    async fn run(&self, message: &[u8]) -> Outcome {
        let mut command = Command::new(&self.command);
        // The server's settings may contain other passwords.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX))
        {
            command.env_remove(name);
        }
        let started = command
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(child) = started else { return Outcome::refused(Reason::new("program cannot start")) };
        match tokio::time::timeout(self.timeout, run_to_exit(child, message)).await {
            Ok(Ok(status)) => outcome(status),
            Ok(Err(_)) => Outcome::Unclear(Reason::new("program's exit status unknown")),
            Err(_) => Outcome::Unclear(Reason::new("program timed out")),
        }
    }
}

async fn run_to_exit(mut child: Child, message: &[u8]) -> std::io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // A program may exit without reading its input; its exit status decides.
        let _ = stdin.write_all(message).await;
    }
    child.wait().await
}

fn outcome(status: ExitStatus) -> Outcome {
    let reason = |code: i32| Reason::with_code("program exited with", &code.to_string());
    match status.code() {
        Some(0) => Outcome::Accepted,
        Some(code @ TRY_LATER) => Outcome::busy(reason(code)),
        Some(code @ NUMBER_REFUSED) => Outcome::NumberRefused(reason(code)),
        Some(code @ REFUSED) => Outcome::refused(reason(code)),
        Some(code) => Outcome::Unclear(reason(code)),
        None => Outcome::Unclear(Reason::new("program was killed")),
    }
}

impl Provider for Exec {
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        let kind = match sms.from {
            Originator::Long(_) => "long",
            Originator::Short(_) => "short",
            Originator::Alpha(_) => "alpha",
        };
        let message = json!({
            "to": sms.to,
            "from": { "type": kind, "address": sms.from.to_string() },
            "text": sms.text,
            "token": sms.token,
        });
        async move { self.run(format!("{message}\n").as_bytes()).await }.boxed()
    }
}
