//! Runs `check-config` of a service on broken set-ups.

use std::path::Path;

use tempfile::TempDir;

use crate::process::{new_folder, run};

/// The exit code, and the lines of both streams without the path of the folder.
///
/// # Panics
/// If the folder takes no file.
pub async fn check(
    binary: &Path,
    folder: &TempDir,
    toml: &str,
    environment: &[(&str, &str)],
) -> (Option<i32>, Vec<String>) {
    std::fs::write(folder.path().join("config.toml"), toml).expect("a folder");
    let environment: Vec<_> = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let output = run(binary, folder.path(), &["check-config"], &environment).await;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = text.replace(&format!("{}/", folder.path().display()), "");
    (output.status.code(), text.lines().map(|line| line.trim().to_owned()).collect())
}

/// Checks each row of `table`: lines of a configuration with one error, which follow `base`, and a line that begins with `=> `
/// and has a part of the only line that reports it.
///
/// # Panics
/// With every row that is reported otherwise, or whose secret is shown.
pub async fn assert_each_is_named(binary: &Path, base: &str, table: &str) {
    let folder = new_folder();
    let mut wrong = Vec::new();
    for row in table.trim().split("\n\n") {
        let (toml, expected) = row.split_once("\n=> ").expect("a row has an expected line");
        let (code, lines) = check(binary, &folder, &format!("{base}{toml}\n"), &[]).await;
        let text = lines.join("\n");
        let is_named = code == Some(1) && lines.len() == 1 && text.contains(expected) && !text.contains("hunter");
        if !is_named {
            wrong.push(format!("{toml}\nexpected: {expected}\nfound: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
