//! Mail into a folder, one `.eml` file each: for development, where a person reads it instead of a relay.
//!
//! Invariant: a file under its final name is complete, and only its owner can read it, for it holds a token.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use shared::clock::Clock;
use shared::random::Random;

use super::message::OutgoingMail;
use super::{MailerError, Refusal, SendError};

/// A folder that mails are written into.
pub(super) struct Folder {
    path: PathBuf,
    clock: Clock,
    random: Random,
}

impl Folder {
    /// Makes the folder if there is none.
    pub(super) fn new(path: PathBuf, clock: Clock, random: Random) -> Result<Self, MailerError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| MailerError::Unreadable { path: path.clone(), source })?;
        Ok(Self { path, clock, random })
    }

    pub(super) fn describe(&self) -> String {
        format!("as files into {} (development only: nobody receives them)", self.path.display())
    }

    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        // The time first, so that the files sort in the order of the mails.
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
        // What is left of it is of no use; if it cannot be removed either, the first error says why.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
