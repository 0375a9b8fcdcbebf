//! Where the real binaries are: built with cargo, once in a test process, in the profile of the test itself.
//!
//! Invariant: the path comes from cargo's own report, so a target folder of any name and place works.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The identity server's executable; `IDENTITY_BINARY` in the environment names a ready one instead.
///
/// # Panics
/// If it does not build; cargo's messages are on standard error.
pub fn identity() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("identity", "IDENTITY_BINARY"))
}

/// The push gateway's executable; `PUSH_GATEWAY_BINARY` in the environment names a ready one instead.
///
/// # Panics
/// If it does not build; cargo's messages are on standard error.
pub fn push_gateway() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("push-gateway", "PUSH_GATEWAY_BINARY"))
}

fn find(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = environment(variable) {
        return PathBuf::from(path);
    }
    let cargo = environment("CARGO").unwrap_or_else(|| env!("CARGO").to_owned());
    let mut build = Command::new(cargo);
    // From the workspace root without --package: the same features as `cargo test` there, so nothing is built twice.
    build.args(["build", "--bin", name, "--message-format=json-render-diagnostics"]);
    let own = std::env::current_exe().expect("a process has an executable");
    build.args(["--profile", &profile(&own)]);
    let output = build
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo build --bin {name}: {}", output.status);
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .unwrap_or_else(|| panic!("cargo built {name} but named no executable"))
}

/// The profile that cargo built the executable in, `<target>/<profile>/demo` or `<target>/<profile>/deps/e2e-…`. The folder of
/// the profile `dev` is `debug`.
fn profile(executable: &Path) -> String {
    let folders = executable.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
    match folders.into_iter().find(|name| *name != "deps") {
        Some("debug") | None => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// The executable of the binary target `name` in cargo's JSON messages, one a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_it = message["reason"] == "compiler-artifact"
            && message["target"]["name"] == name
            && message["target"]["kind"][0] == "bin";
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    })
}

fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "says which binary to test; not a setting of a service")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{executable, identity, profile};

    #[test]
    fn the_binary_and_the_library_of_the_same_name_are_distinguished() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"identity"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"other"},"executable":"/t/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"identity"},"executable":"/t/identity"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "identity"), Some(PathBuf::from("/t/identity")));
        assert_eq!(executable(messages, "push-gateway"), None);
    }

    #[test]
    fn the_profile_is_that_of_the_own_executable() {
        for (path, expected) in [
            ("/t/debug/deps/e2e-1", "dev"),
            ("/t/debug/demo", "dev"),
            ("/t/release/load", "release"),
            ("/t/demo/demo", "demo"),
            ("/t/x86_64-unknown-linux-gnu/demo/demo", "demo"),
        ] {
            assert_eq!(profile(Path::new(path)), expected);
        }
    }

    #[test]
    fn the_identity_server_builds() {
        assert!(identity().is_file(), "{}", identity().display());
    }
}
