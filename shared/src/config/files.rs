//! The files that a configuration names: empty names, their content for reloads, their permissions.
//!
//! Invariant: no function returns a part of a file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::secrets::may_hold_secret;
use super::value::{Table, Value};

/// `table` without keys of files whose value is empty: forms and templates write a missing file so.
pub(super) fn without_empty_paths(table: Table) -> Table {
    let is_path = |key: &str| is_file(key) || key == "dir" || key.ends_with("_dir");
    let is_empty = |value: &Value| matches!(value, Value::Text(text) if text.trim().is_empty());
    let kept = table.into_iter().filter(|(key, value)| !(is_path(key) && is_empty(value)));
    kept.map(|(key, value)| match value {
        Value::Table(below) => (key, Value::Table(without_empty_paths(below))),
        value => (key, value),
    })
    .collect()
}

fn is_file(key: &str) -> bool {
    key == "file" || key.ends_with("_file")
}

/// Adds the files that `table` names to `found`, with the dotted paths of their keys below `above`.
pub(super) fn named(table: &Table, above: &str, folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    for (key, value) in table {
        let name = super::key::quoted(key);
        let path = if above.is_empty() { name } else { format!("{above}.{name}") };
        match value {
            Value::Table(below) => named(below, &path, folder, found),
            Value::Text(file) if is_file(key) => found.push((path, folder.join(file))),
            _ => {}
        }
    }
}

/// Files that hold no secret, so that their names are shown.
const PUBLIC: [&str; 3] = ["file", "tls_cert_file", "extra_ca_file"];

/// Why `written`, the value of the key, is not taken for the name of a file: there is none, and it looks like the secret
/// itself. `key` is the dotted path, `file` the path from the folder of the configuration.
pub(super) fn not_a_name(key: &str, written: &str, file: &Path) -> Option<String> {
    let error = std::fs::metadata(file).err()?;
    let key = key.rsplit('.').next().unwrap_or(key);
    let is_of_name = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    // The program that renews the file of a token may not have run yet.
    let has_form_of_name = (written.contains(['/', '.']) || key == "token_file") && written.chars().all(is_of_name);
    let is_key = written.contains(char::is_control) || written.starts_with("ed25519 ");
    let is_secret = may_hold_secret(written) || written.contains("://") || is_key;
    (is_secret || !PUBLIC.contains(&key) && !has_form_of_name).then(|| {
        format!(
            "cannot read the file: {error}; write the name of a file that holds the secret (the value is not shown, because it \
             could be the secret itself)"
        )
    })
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
    if mode & 0o007 == 0 {
        return folder_notice(key, path);
    }
    Some(format!(
        "INSECURE: {}: every user of this machine can access {} (mode {:03o}); set its mode to 600",
        super::key_name(key),
        path.display(),
        mode & 0o777
    ))
}

/// Who may write into the folder may replace the file. The sticky bit, as on /tmp, prevents that.
fn folder_notice(key: &str, path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(folder).ok()?.permissions().mode();
    (mode & 0o1002 == 0o0002).then(|| {
        format!(
            "INSECURE: {}: every user of this machine can replace {}, because the mode of its folder is {:03o}; set it to 700",
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

    use super::{exposure_notice, not_a_name};

    #[test]
    fn a_secret_in_the_place_of_a_file_is_not_taken_for_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p@ss:w"), "x").unwrap();
        for (key, written, is_name) in [
            ("email.password_file", "hunter2", false),
            ("email.password_file", "hun+ter/2", false),
            ("database.url_file", "postgres://u:hunter2@h/d", false),
            ("apps.\"a.b\".key_file", "-----BEGIN PRIVATE KEY-----\nhunter2", false),
            ("terms.file", "https://u:hunter2@example.org/terms", false),
            ("email.password_file", "secrets/password", true),
            ("email.password_file", "password.txt", true),
            ("email.password_file", "p@ss:w", true),
            ("email.token_file", "token", true),
            ("email.token_file", "hunter2:x", false),
            ("keys.file", "ed25519 0 hunter2", false),
            ("outbound.extra_ca_file", "ca", true),
            ("keys.file", "signing", true),
        ] {
            let problem = not_a_name(key, written, &folder.path().join(written));
            assert_eq!(problem.is_none(), is_name, "{key} {written}");
            assert!(problem.is_none_or(|text| !text.contains("hun")));
        }
    }

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
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "x").unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        for (mode, is_exposed) in [(0o700, false), (0o755, false), (0o777, true), (0o1777, false)] {
            std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposure_notice("keys.file", &key).is_some(), is_exposed, "{mode:o}");
        }
    }
}
