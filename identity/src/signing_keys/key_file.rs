//! The key file: lines `ed25519 <id> <seed>`, the format of other Matrix servers.
//!
//! Invariant: an existing file is never written, only replaced, and a new file appears complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shared::random::Random;
use shared::text_file::{self, TextError};
use zeroize::Zeroizing;

use crate::signing::{SigningKey, decode_key, encode_seed};

/// Why a key file cannot be used. The errors never show a part of a seed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("[keys] file: cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("[keys] file: {path} {reason}")]
    NoText { path: PathBuf, reason: TextError },
    #[error("[keys] file: cannot create {path}: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("[keys] file: {path}, line {line}: {reason}")]
    Malformed {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        reason: &'static str,
    },
    #[error("[keys] file: {0} has no key; add a line that generate-key prints")]
    Empty(PathBuf),
}

/// The keys of the file at `path`: at least one, in the file's order. Creates a missing file with a new key of that id.
pub(super) fn read_or_create(path: &Path, id: &str, random: Random) -> Result<Vec<SigningKey>, KeyFileError> {
    if let Some(text) = text(path)? {
        return parse(path, &text);
    }
    create(path, id, random).map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })?;
    // Another process may have created the file first; both use the file that exists now.
    read(path)
}

/// The keys of the file at `path`: at least one, in the file's order.
pub(super) fn read(path: &Path) -> Result<Vec<SigningKey>, KeyFileError> {
    match text(path)? {
        Some(text) => parse(path, &text),
        None => {
            let source = io::ErrorKind::NotFound.into();
            Err(KeyFileError::Unreadable { path: path.to_owned(), source })
        }
    }
}

/// The lines of the file, if it exists, however they were copied: quoted, with `\n` in letters, in base64 as a whole.
pub(super) fn text(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    match fs::read(path).map(Zeroizing::new) {
        Ok(content) => match text_file::decode(&content) {
            Ok(text) => Ok(Some(lines(text))),
            Err(TextError::Empty) => Err(KeyFileError::Empty(path.to_owned())),
            Err(reason) => Err(KeyFileError::NoText { path: path.to_owned(), reason }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::Unreadable { path: path.to_owned(), source }),
    }
}

fn lines(text: &str) -> Zeroizing<String> {
    let is_bare = |text: &str| text.contains("ed25519 ");
    let inner = if is_bare(text) { None } else { text_file::of_base64(text_file::unquoted(text)) };
    let text =
        inner.as_ref().and_then(|inner| std::str::from_utf8(inner).ok()).filter(|text| is_bare(text)).unwrap_or(text);
    // Neither an id nor a seed has quotes or backslashes.
    Zeroizing::new(text_file::unquoted(text).replace("\\r", "").replace("\\n", "\n"))
}

/// Writes a new key to a draft file and links the draft to `path`, which fails if that exists by then.
fn create(path: &Path, id: &str, random: Random) -> io::Result<()> {
    let folder = folder_of(path);
    let draft = draft_in(folder, random);
    let linked = write_draft(&draft, &new_line(id, random)).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => removed?,
    }
    File::open(folder)?.sync_all()
}

/// A line with a new key.
pub(super) fn new_line(id: &str, random: Random) -> Zeroizing<String> {
    let seed = Zeroizing::new(random.bytes::<32>());
    Zeroizing::new(format!("ed25519 {id} {}", *encode_seed(&seed)))
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path of a draft beside the key file.
pub(super) fn draft_in(folder: &Path, random: Random) -> PathBuf {
    folder.join(format!(".signing-key-{}", random.base62(16)))
}

/// Writes a new file with `text` and a line break, for its owner alone.
pub(super) fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Parses the lines; skips blank lines and those that start with `#`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<SigningKey>, KeyFileError> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |reason| KeyFileError::Malformed { path: path.to_owned(), line: index + 1, reason };
        let key = parse_line(line).map_err(malformed)?;
        if keys.iter().any(|earlier| earlier.id() == key.id()) {
            return Err(malformed("an earlier line has the same id"));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(KeyFileError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn parse_line(line: &str) -> Result<SigningKey, &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [algorithm, id, seed] = words[..] else {
        return Err("expected the form: ed25519 <id> <unpadded base64 of 32 bytes>");
    };
    if algorithm != "ed25519" {
        return Err("the algorithm is not ed25519");
    }
    let seed = decode_key(seed).ok_or("the seed is not base64 of 32 bytes")?;
    SigningKey::from_seed(id, &seed).map_err(|_| "the id has other characters than a-z, A-Z, 0-9, _")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Barrier;

    use shared::random::Random;

    use super::{KeyFileError, parse, read_or_create};

    #[test]
    fn a_missing_file_is_created_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let created = read_or_create(&path, "0", Random).unwrap();
        assert_eq!(created[0].id(), "ed25519:0");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft remains");
        let again = read_or_create(&path, "0", Random).unwrap();
        assert_eq!(again[0].public(), created[0].public());
    }

    #[test]
    fn a_key_is_read_however_its_file_was_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let line = "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
        let utf16: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for form in [
            format!("\u{feff}{line}\r\n"),
            format!("\"{line}\"\n"),
            format!("{line}\\n"),
            format!("# ours\\r\\n{line}\\r\\n"),
            "ZWQyNTUxOSAwIFlKREJBOVhucjJzVnFYRDlWajdYVlVubUZaY1pybHc4TWQ3a01XKzNYQTEK\n".to_owned(),
        ] {
            fs::write(&path, &form).unwrap();
            assert_eq!(super::read(&path).unwrap()[0].id(), "ed25519:0", "{form:?}");
        }
        fs::write(&path, utf16).unwrap();
        assert!(super::read(&path).unwrap_err().to_string().contains("UTF-16"));
        fs::write(&path, "\n").unwrap();
        assert!(matches!(super::read(&path), Err(KeyFileError::Empty(_))));
    }

    #[test]
    fn processes_that_start_together_share_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let start = Barrier::new(8);
        let keys: HashSet<String> = std::thread::scope(|scope| {
            let each = || {
                start.wait();
                read_or_create(&path, "0", Random).unwrap()[0].public().encode()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft remains");
    }

    #[test]
    fn a_file_that_cannot_be_created_or_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("missing").join("signing.key");
        assert!(matches!(read_or_create(&nowhere, "0", Random), Err(KeyFileError::Unwritable { .. })));
        assert!(matches!(read_or_create(folder.path(), "0", Random), Err(KeyFileError::Unreadable { .. })));
    }

    #[test]
    fn the_error_of_a_malformed_line_hides_the_seed() {
        let good = "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
        for wrong in [
            "ed25519 1",
            "ed25519 1 SECRET",
            "rsa 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
            "ed25519 a:b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
            good,
            "ed25519 1 SECRET more",
        ] {
            let error = parse(Path::new("k"), &format!("{good}{wrong}")).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { line: 2, .. }), "{wrong}");
            assert!(!format!("{error} {error:?}").contains("SECRET"));
        }
        for empty in ["", "\n \n# nothing\n"] {
            assert!(matches!(parse(Path::new("k"), empty), Err(KeyFileError::Empty(_))));
        }
    }
}
