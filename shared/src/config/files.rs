//! The files that a configuration names: empty names, their content for reloads, their permissions.
//!
//! Invariant: no function returns a part of a file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use config::{Map, Value, ValueKind};

/// `table` without keys of files whose value is empty: forms and templates write a missing file so.
pub(super) fn without_empty_paths(table: Map<String, Value>) -> Map<String, Value> {
    let is_path = |key: &str| is_file(key) || key == "dir" || key.ends_with("_dir");
    let is_empty = |value: &Value| matches!(&value.kind, ValueKind::String(text) if text.trim().is_empty());
    let kept = table.into_iter().filter(|(key, value)| !(is_path(key) && is_empty(value)));
    kept.map(|(key, mut value)| {
        if let ValueKind::Table(below) = value.kind {
            value.kind = ValueKind::Table(without_empty_paths(below));
        }
        (key, value)
    })
    .collect()
}

fn is_file(key: &str) -> bool {
    key == "file" || key.ends_with("_file")
}

/// Adds the files that `table` names to `found`, with the dotted paths of their keys below `above`.
pub(super) fn named(table: &Map<String, Value>, above: &str, folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    for (key, value) in table {
        let name = super::key::quoted(key);
        let path = if above.is_empty() { name } else { format!("{above}.{name}") };
        match &value.kind {
            ValueKind::Table(below) => named(below, &path, folder, found),
            ValueKind::String(file) if is_file(key) => found.push((path, folder.join(file))),
            _ => {}
        }
    }
}

/// A digest of the contents of files; it differs if they changed. A missing file counts as an empty one.
pub fn digest_of_files<'a>(files: impl IntoIterator<Item = &'a Path>) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for file in files {
        let content = std::fs::read(file).unwrap_or_default();
        digest.update(&content.len().to_be_bytes());
        digest.update(&content);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

/// What an operator should know of the permissions of the file of a secret, if anything. `key` is the dotted path.
pub fn exposure_notice(key: &str, path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        format!(
            "INSECURE: {}: every user of this machine can access {} (mode {:03o}); set its mode to 600",
            super::key_name(key),
            path.display(),
            mode & 0o777
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::exposure_notice;

    #[test]
    fn a_secret_that_every_user_can_access_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            file.as_file().set_permissions(Permissions::from_mode(mode)).unwrap();
            let notice = exposure_notice("http.tls_key_file", file.path());
            assert_eq!(notice.is_some(), is_exposed, "{mode:o}");
            let text = notice.unwrap_or_default();
            assert!(!is_exposed || text.starts_with("INSECURE: [http] tls_key_file: every user"), "{text}");
        }
    }
}
