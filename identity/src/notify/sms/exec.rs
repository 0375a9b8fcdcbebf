//! A program of the operator's that carries messages: one run for each, without a shell.
//!
//! Invariant: what strangers can choose reaches the program on its standard input alone, as one line of JSON; no argument
//! and no variable holds a part of it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::provider::{Outcome, Provider, Reason, Sms};
use super::{SmsSetupError, needed};
use crate::config::ENVIRONMENT_PREFIX;
use crate::config::sms::providers::Exec as Settings;
use crate::domain::originator::Originator;

/// EX_TEMPFAIL of `sysexits.h`: nothing was sent, another time it may go.
const TRY_LATER: i32 = 75;
/// EX_NOUSER of `sysexits.h`: this number gets no messages.
const NUMBER_REFUSED: i32 = 67;

/// The program.
pub(super) struct Exec {
    command: PathBuf,
    args: Vec<String>,
    timeout: Duration,
}

impl Exec {
    pub(super) fn new(settings: &Settings, timeout: Duration) -> Result<Self, SmsSetupError> {
        let command = needed("sms.exec.command", settings.command.as_ref())?.clone();
        Ok(Self { command, args: settings.args.as_slice().to_vec(), timeout })
    }

    async fn run(&self, message: &[u8]) -> Outcome {
        let mut command = Command::new(&self.command);
        // Passwords of others may stand among our settings.
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
        let Ok(child) = started else { return Outcome::refused(Reason::new("the program cannot be started")) };
        match tokio::time::timeout(self.timeout, talk(child, message)).await {
            Ok(Ok(status)) => outcome(status),
            Ok(Err(_)) => Outcome::Unclear(Reason::new("the program cannot be waited for")),
            Err(_) => Outcome::Unclear(Reason::new("the program did not end in time")),
        }
    }
}

async fn talk(mut child: Child, message: &[u8]) -> std::io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read what it is told says by its status what came of it.
        let _ = stdin.write_all(message).await;
    }
    child.wait().await
}

fn outcome(status: ExitStatus) -> Outcome {
    let reason = |code: i32| Reason::with_code("the program ended with", &code.to_string());
    match status.code() {
        Some(0) => Outcome::Accepted,
        Some(code @ TRY_LATER) => Outcome::NotSent { reason: reason(code), again: true },
        Some(code @ NUMBER_REFUSED) => Outcome::NumberRefused(reason(code)),
        Some(code) => Outcome::refused(reason(code)),
        None => Outcome::Unclear(Reason::new("the program was killed")),
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
