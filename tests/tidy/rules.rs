//! The rules without rows: places of external crates, headers, lengths, names, the top level, machine paths.
//!
//! Invariant: a rule is a function of its arguments, so a test can pass it a violation.

use super::source::SourceFile;

/// The longest file, in lines before its unit tests.
const MAX_LINES: usize = 300;

/// File and folder names without information about their content.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "managers"];

/// The entries of the top level, besides files that start with a dot.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "LICENSE",
    "README.md",
    "identity",
    "push-gateway",
    "shared",
    "deploy",
    "tests",
    "target",
];

/// Where an external crate may, or may not, be named.
enum Place {
    /// Below these paths alone.
    Only(&'static [&'static str]),
    /// Everywhere but below these paths.
    Not(&'static [&'static str]),
}

/// External crates, where they belong, and why.
const CRATES: [(&[&str], Place, &str); 6] = [
    (
        &["diesel", "diesel_async", "diesel_migrations", "libsqlite3_sys", "tokio_postgres", "tokio_postgres_rustls"],
        Place::Only(&["identity/src/store/"]),
        "the databases differ in store/ and nowhere else",
    ),
    (
        &["actix_web", "actix_http"],
        Place::Only(&[
            "identity/src/routes/",
            "identity/src/server",
            "identity/src/error",
            "shared/src/http",
            "push-gateway/src/http/",
            "push-gateway/src/cli/serve",
        ]),
        "only the top rows know HTTP",
    ),
    (
        &["rlibphonenumber"],
        Place::Only(&["identity/src/domain/msisdn/"]),
        "one place parses numbers and passes only digits: other texts make the library panic",
    ),
    (&["lettre"], Place::Only(&["identity/src/notify/"]), "only notify/ knows mail"),
    (&["reqwest"], Place::Only(&[]), "the services open every connection with shared::outbound"),
    (
        &["tracing", "metrics", "tokio", "futures_util"],
        Place::Not(&["identity/src/domain/", "push-gateway/src/notification"]),
        "rules are pure: no logs, no metrics, no waiting",
    ),
];

/// External crates that production code names where they do not belong.
pub(crate) fn crates_out_of_place(files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("tests/")) {
        let below = |paths: &[&str]| paths.iter().any(|path| file.path.starts_with(path));
        for named in file.named_paths() {
            for (crates, place, reason) in &CRATES {
                let right = match place {
                    Place::Only(paths) => below(paths),
                    Place::Not(paths) => !below(paths),
                };
                if crates.contains(&named.parts[0].as_str()) && !right {
                    violations.push(format!("{}:{} names {}: {reason}", file.path, named.line, named.parts[0]));
                }
            }
        }
    }
    violations
}

/// Files that do not begin with `//!` and a word.
pub(crate) fn without_header(files: &[SourceFile]) -> Vec<String> {
    let says = |file: &&SourceFile| {
        file.text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_some_and(|text| text.len() > 9)
    };
    files.iter().filter(|file| !says(file)).map(|file| file.path.clone()).collect()
}

/// Files that are too long without their tests.
pub(crate) fn too_long(files: &[SourceFile]) -> Vec<String> {
    let lines = files.iter().map(|file| (file, file.production().lines().count()));
    lines.filter(|(_, lines)| *lines > MAX_LINES).map(|(file, lines)| format!("{}: {lines} lines", file.path)).collect()
}

/// Files and folders with a name of [`EMPTY_NAMES`].
pub(crate) fn empty_names(files: &[SourceFile]) -> Vec<String> {
    let empty =
        |file: &&SourceFile| file.path.split('/').any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")));
    files.iter().filter(empty).map(|file| file.path.clone()).collect()
}

/// Names at the top level that are not agreed.
pub(crate) fn unknown_top_level_entries(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str())).cloned().collect()
}

/// Lines that name a path of the machine or the workplace on which they were written.
pub(crate) fn machine_paths(files: &[SourceFile]) -> Vec<String> {
    // In two parts, so that this file does not contain them.
    let roots = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/"), ("/wo", "rk/"), (":\\Us", "ers\\")]
        .map(|(a, b)| format!("{a}{b}"));
    let mut violations = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            // In the middle of a longer path or a URL the name belongs to another folder.
            let absolute = |root: &String| {
                line.match_indices(root.as_str()).any(|(at, _)| {
                    root.starts_with(':')
                        || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}$~*".contains(c))
                })
            };
            if roots.iter().any(absolute) {
                violations.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::{crates_out_of_place, empty_names, machine_paths, too_long, unknown_top_level_entries, without_header};
    use crate::source::SourceFile;

    fn files(path: &str, text: &str) -> Vec<SourceFile> {
        vec![SourceFile { path: path.to_owned(), text: text.to_owned() }]
    }

    #[test]
    fn a_crate_out_of_its_place_is_found() {
        for (path, text) in [
            ("identity/src/flows/bind.rs", "use diesel::prelude;"),
            ("identity/src/flows/bind.rs", "fn f() { diesel_async::x() }"),
            ("identity/src/flows/bind.rs", "use actix_web::{web, HttpResponse};"),
            ("identity/src/state.rs", "use lettre::Message;"),
            ("identity/src/notify/sms.rs", "use {reqwest::Client, std::fmt};"),
            ("identity/src/flows/bind.rs", "use rlibphonenumber::PhoneNumber;"),
            ("identity/src/domain/sid.rs", "fn f() { tracing::info!(\"x\") }"),
            ("shared/src/clock.rs", "#[actix_web::main] async fn f() {}"),
        ] {
            assert_eq!(
                crates_out_of_place(&files(path, text)).len(),
                1 + usize::from(text.contains("web,")),
                "{path}: {text}"
            );
        }
        for (path, text) in [
            ("identity/src/store/mod.rs", "use diesel::prelude;"),
            ("identity/src/routes/lookup.rs", "use actix_web::web;"),
            ("shared/src/http/error.rs", "use actix_web::web;"),
            ("identity/src/notify/smtp.rs", "use lettre::Message;"),
            ("identity/src/domain/msisdn/reading.rs", "use rlibphonenumber::PhoneNumber;"),
            ("identity/src/flows/bind.rs", "// diesel::x\nfn f() { tracing::info!(\"diesel::x\") }"),
            ("identity/src/flows/bind.rs", "#[cfg(test)]\nmod tests { use diesel::x; }"),
        ] {
            assert_eq!(crates_out_of_place(&files(path, text)), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        for text in [
            "",
            "use a::b;",
            "\n//! Late, but not at the top.",
            "//!",
            "//! x",
            "/// Of an item, not of the file.",
            "// A plain comment.",
        ] {
            assert_eq!(without_header(&files("a.rs", text)).len(), 1, "{text:?}");
        }
        assert_eq!(without_header(&files("a.rs", "//! What it is.\n")), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_too_long_is_found() {
        let (full, tests) = ("x\n".repeat(300), format!("#[cfg(test)]\nmod tests {{\n{}", "y\n".repeat(400)));
        assert_eq!(too_long(&files("shared/src/a.rs", &format!("{full}{tests}"))), Vec::<String>::new());
        assert_eq!(too_long(&files("shared/src/a.rs", &format!("x\n{full}{tests}"))), ["shared/src/a.rs: 301 lines"]);
        assert_eq!(too_long(&files("shared/src/a/tests.rs", &format!("x\n{full}"))), Vec::<String>::new());
    }

    #[test]
    fn an_empty_name_is_found() {
        for path in ["identity/src/util.rs", "shared/src/common/mod.rs", "tests/harness/helpers.rs", "a/manager.rs"] {
            assert_eq!(empty_names(&files(path, "")).len(), 1, "{path}");
        }
        assert_eq!(empty_names(&files("identity/src/communication.rs", "")), Vec::<String>::new());
    }

    #[test]
    fn an_entry_that_is_not_agreed_is_found() {
        let names = ["Cargo.toml", ".ci", "identity", "target", "notes.md", "src"].map(str::to_owned);
        assert_eq!(unknown_top_level_entries(&names), ["notes.md", "src"]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let (home, work) = (concat!("/ho", "me/alice/x"), concat!("/wo", "rk/x"));
        for line in [
            home,
            work,
            &format!("see {home}"),
            &format!("a=\"{work}\""),
            &format!("file://{home}"),
            concat!("C:\\Us", "ers\\a"),
        ] {
            assert_eq!(machine_paths(&files("README.md", &format!("fine\n{line}\n"))), ["README.md:2"], "{line}");
        }
        for line in
            [&format!("https://example.org{home}"), &format!("../net{work}"), "homework/x", &format!("$HOME{work}")]
        {
            assert_eq!(machine_paths(&files("README.md", line)), Vec::<String>::new(), "{line}");
        }
    }
}
