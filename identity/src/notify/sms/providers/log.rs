//! A file with one line for each message, for development.
//!
//! Invariant: only the file's owner can read it, because it holds numbers and tokens. The server's log holds neither.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::super::provider::{Outcome, Provider, Reason, Sms};

pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Provider for Log {
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        let line = format!("to +{} from {}: {}\n", sms.to, sms.from, sms.text.replace(char::is_control, " "));
        let path = self.path.clone();
        async move {
            match tokio::task::spawn_blocking(move || append(&path, &line)).await {
                Ok(Ok(())) => Outcome::Accepted,
                Ok(Err(_)) | Err(_) => Outcome::refused(Reason::new("file cannot be written")),
            }
        }
        .boxed()
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // One write call, so that lines of two processes do not mix.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(line.as_bytes())
}
