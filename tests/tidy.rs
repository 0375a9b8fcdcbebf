//! The layer check: reads the source tree and reports every violation of the architecture.
//!
//! Invariant: every rule is a row of a table here or in `tidy/`, and has a test that shows it fail.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::path::Path;

use layers::{Layers, Neighbours, Row, Unit};
use modules::Modules;
use source::{SourceFile, rust_files, top_level, tracked_files};

/// The identity server, top to bottom. A module imports only from rows below its own.
const IDENTITY: Layers = Layers {
    package: "identity",
    rows: &[
        Row::of(&[Unit::Module("main")], "the command line: starts the service, decides nothing"),
        Row::of(&[Unit::Module("lib")], "declares the modules"),
        Row {
            units: &[Unit::EachIn("cli")],
            neighbours: Neighbours::Only(&["check_config", "database", "table"]),
            reason: "each assembles the parts of one command; commands do not share parts",
        },
        Row::of(&[Unit::Module("server")], "assembles the parts of the running server"),
        Row::of(
            &[Unit::Within("routes", "legacy_v1")],
            "calls the handlers of v2 without an account; they do not import it",
        ),
        Row {
            units: &[Unit::EachIn("routes")],
            neighbours: Neighbours::Only(&["auth", "browser", "current_state", "input"]),
            reason: "HTTP and wire types; no SQL, time or randomness. Every route may use the authentication and the request reader",
        },
        Row {
            units: &[Unit::EachIn("flows")],
            neighbours: Neighbours::Only(&["authenticate", "authenticate_homeserver", "submit_token"]),
            reason: "the order of steps of one operation. A flow may only authenticate its caller or submit its token",
        },
        Row::of(
            &[Unit::Module("mail_delivery"), Unit::Module("queue_worker")],
            "what several flows share: to send or queue one mail, and to work on a durable queue",
        ),
        Row::of(&[Unit::Module("state"), Unit::Module("error")], "below the handlers, so that there is no circle"),
        Row::of(
            &[Unit::Module("limits"), Unit::Module("memory")],
            "counts events in the store's buckets, and keeps in memory what the store has",
        ),
        Row {
            units: &[
                Unit::EachIn("store"),
                Unit::Module("notify"),
                Unit::Module("homeserver"),
                Unit::Module("signing_keys"),
            ],
            neighbours: Neighbours::Only(&[
                "schema",
                "changes",
                "connect",
                "connection",
                "error",
                "migrations",
                "peppers",
                "postgres",
                "testing",
            ]),
            reason: "each serves one outside party or one table, independent of its callers",
        },
        Row::of(&[Unit::Module("config")], "the settings in the operator's file"),
        Row {
            units: &[Unit::EachIn("domain")],
            neighbours: Neighbours::WithoutCircle,
            reason: "pure rules; domain types may build on each other without a circle",
        },
        Row::of(&[Unit::Module("signing")], "signed JSON: keys, signatures, verification"),
        Row::of(
            &[Unit::Module("json"), Unit::Module("canonical_json")],
            "JSON as Matrix requires it: the strict reader and the canonical form",
        ),
    ],
};

/// The push gateway, top to bottom.
const PUSH_GATEWAY: Layers = Layers {
    package: "push-gateway",
    rows: &[
        Row::of(&[Unit::Module("main")], "the command line: starts the service, decides nothing"),
        Row::of(&[Unit::Module("lib")], "declares the modules"),
        Row {
            units: &[Unit::EachIn("cli")],
            neighbours: Neighbours::Only(&["check_config", "serve"]),
            reason: "each command assembles its parts; doctor makes the checks of check-config and knows the listeners of serve",
        },
        Row {
            units: &[Unit::EachIn("http")],
            neighbours: Neighbours::Only(&["error", "discovery", "network", "relay", "vapid"]),
            reason: "HTTP and wire types; each endpoint knows all API errors",
        },
        Row::of(&[Unit::Within("apps", "reload")], "replaces the configuration that the whole state was made from"),
        Row::of(&[Unit::Within("apps", "status")], "reports on the whole state"),
        Row {
            units: &[Unit::EachIn("delivery")],
            neighbours: Neighbours::WithoutCircle,
            reason: "delivers each device to its provider",
        },
        Row {
            units: &[Unit::EachIn("apps")],
            neighbours: Neighbours::WithoutCircle,
            reason: "which app ID is served by which provider",
        },
        Row::of(&[Unit::EachIn("config")], "the settings; those of an app by its provider"),
        Row::of(
            &[Unit::Within("providers", "factory")],
            "reads the settings of an app by its type: the one place that knows all",
        ),
        Row {
            units: &[Unit::EachIn("providers")],
            neighbours: Neighbours::Only(&[
                "access_token",
                "apns_error",
                "app_table",
                "connection_report",
                "delivery_settings",
                "device_key",
                "flat_data",
                "in_use",
                "json_file",
                "json_size",
                "log_throttle",
                "outcome",
                "pause",
                "text_template",
                "transport",
                "two_generation_cache",
                "upstream_metrics",
            ]),
            reason: "each provider knows one push service; providers never import one another",
        },
        Row::of(&[Unit::Module("relay")], "the rules of the Web Push relay, pure: sealed URLs, VAPID, header fields"),
        Row::of(
            &[Unit::Module("notification"), Unit::Module("upstream")],
            "the notification, pure; and the HTTP client of all providers, which knows no push service",
        ),
    ],
};

/// The packages with Rust files.
const PACKAGES: [&str; 4] = ["identity", "push-gateway", "shared", "tests"];

/// The crates whose modules may not import each other in a circle: the folders of their roots, their names, and whether
/// the rule holds for the root itself. The rows of a service may split a folder of the root.
const CRATES: [(&str, &str, bool); 4] = [
    ("identity/src/", "identity", false),
    ("push-gateway/src/", "push_gateway", false),
    ("shared/src/", "shared", true),
    ("tests/harness/", "harness", true),
];

/// Folders in which a circle remains. A folder leaves the list when its circle is removed.
const CIRCLES_TO_REMOVE: [&str; 0] = [];

/// Paths that still contain words of `tidy/words.rs`: a migration that has been applied is never edited.
const WORDS_TO_REPLACE: &[&str] = &["identity/migrations/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn sources() -> Vec<SourceFile> {
    PACKAGES.iter().flat_map(|package| rust_files(root(), package)).collect()
}

#[track_caller]
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}\n", violations.join("\n  "));
}

#[test]
fn modules_import_only_from_rows_below() {
    let files = sources();
    for layers in [IDENTITY, PUSH_GATEWAY] {
        if root().join(layers.package).is_dir() {
            assert_none("imports against the rows (see the table in tests/tidy.rs)", &layers.violations(&files));
        }
    }
}

#[test]
fn modules_of_one_folder_do_not_import_each_other_in_a_circle() {
    let files = sources();
    let circles =
        CRATES.iter().flat_map(|(folder, name, in_root)| Modules::below(folder, name, &files).circles(*in_root));
    let circles: Vec<_> =
        circles.filter(|line| !CIRCLES_TO_REMOVE.iter().any(|folder| line.starts_with(folder))).collect();
    assert_none("imports in a circle", &circles);
}

#[test]
fn external_crates_are_named_only_where_they_belong() {
    assert_none("crates out of their place", &rules::crates_out_of_place(&sources()));
}

#[test]
fn every_file_begins_with_a_header() {
    assert_none("no //! on the first line", &rules::without_header(&sources()));
}

#[test]
fn no_file_is_longer_than_300_lines_without_tests() {
    assert_none("longer than 300 lines without tests", &rules::too_long(&sources()));
}

#[test]
fn no_file_has_an_empty_name() {
    assert_none("names without meaning", &rules::empty_names(&sources()));
}

#[test]
fn the_top_level_holds_only_the_agreed_entries() {
    assert_none("not in the agreed top level", &rules::unknown_top_level_entries(&top_level(root())));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    assert_none("paths of one machine", &rules::machine_paths(&tracked_files(root())));
}

#[test]
fn comments_texts_and_names_have_no_private_words() {
    let found = words::private_words(&tracked_files(root()), WORDS_TO_REPLACE);
    assert_none("words that hide who does what (see tests/tidy/words.rs)", &found);
}

#[test]
fn the_check_reads_the_tree() {
    let files = sources();
    for path in ["identity/src/lib.rs", "push-gateway/src/lib.rs", "shared/src/lib.rs", "tests/tidy.rs"] {
        assert!(files.iter().any(|file| file.path == path), "{path} is missing");
    }
    assert!(tracked_files(root()).iter().any(|file| file.path == "Cargo.toml"));
}
