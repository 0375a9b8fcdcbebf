//! `transport = "file"`: each mail becomes one `.eml` file in a folder, for development.
//!
//! Invariant: a file under its final name is complete, and only its owner can read it, because it holds a token.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use shared::clock::Clock;
use shared::random::Random;

use super::message::OutgoingMail;
use super::{MailerError, Refusal, SendError};

/// The folder of the `.eml` files.
pub(super) struct Folder {
    path: PathBuf,
    clock: Clock,
    random: Random,
}

impl Folder {
    pub(super) fn new(path: PathBuf, clock: Clock, random: Random) -> Self {
        Self { path, clock, random }
    }

    /// Creates the folder unless it exists.
    pub(super) fn create(&self) -> Result<(), MailerError> {
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        created.map_err(|source| MailerError::Unreadable { path: self.path.clone(), source })
    }

    pub(super) fn describe(&self) -> String {
        format!("written as files into {} (development only: never delivered)", self.path.display())
    }

    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        // The time comes first, so that the file names sort by time.
        let name = format!("{:015}-{}", self.clock.now().as_millis(), self.random.base62(8));
        let (folder, message) = (self.path.clone(), mail.message.clone());
        match tokio::task::spawn_blocking(move || write(&folder, &name, &message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SendError::Refused(Refusal::File(error.kind()))),
            Err(_) => Err(SendError::Refused(Refusal::File(io::ErrorKind::Other))),
        }
    }
}

fn write(folder: &Path, name: &str, message: &str) -> io::Result<()> {
    let unfinished = folder.join(format!(".{name}.unfinished"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file
        .write_all(message.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&unfinished, folder.join(format!("{name}.eml"))));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
