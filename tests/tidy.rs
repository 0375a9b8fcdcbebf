//! The layer check: reads the source tree and fails on what the plan of the house forbids.
//!
//! Invariant: every rule is a row of a table here or in `tidy/rules.rs`, and each of them has a test that sees it fail.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use layers::{Layers, Neighbours, Row, Unit};
use source::{SourceFile, rust_files, top_level, tracked_files};

/// The identity server, top to bottom. A module imports only from rows below its own.
const IDENTITY: Layers = Layers {
    package: "identity",
    rows: &[
        Row::of(&[Unit::Module("main")], "the command line; starts things, decides nothing"),
        Row::of(&[Unit::Module("lib")], "says which modules there are"),
        Row {
            units: &[Unit::Module("server"), Unit::EachIn("commands")],
            neighbours: Neighbours::Only(&["database", "table"]),
            reason: "each puts the parts together that one command needs; none is a part of another",
        },
        Row::of(
            &[Unit::Within("routes", "legacy_v1")],
            "says to v2's handlers what they ask of accounts: that there is none. None of them knows of it",
        ),
        Row {
            units: &[Unit::EachIn("routes")],
            neighbours: Neighbours::Only(&["auth", "input"]),
            reason: "knows HTTP and wire types; no SQL, time or randomness. Any route may ask who is calling and what is said",
        },
        Row::of(&[Unit::EachIn("flows")], "tells the order of one story; a story does not call another one"),
        Row::of(&[Unit::Module("mail_delivery")], "sends and queues one mail for the flows that have one to send"),
        Row::of(&[Unit::Module("state"), Unit::Module("error")], "below the handlers, so that there is no circle"),
        Row::of(&[Unit::Module("limits")], "counts events in the store's buckets"),
        Row {
            units: &[
                Unit::EachIn("store"),
                Unit::Module("notify"),
                Unit::Module("homeserver"),
                Unit::Module("signing_keys"),
            ],
            neighbours: Neighbours::Only(&["schema", "connect", "connection", "testing", "turns"]),
            reason: "each knows one outside party or one table, and not who calls it",
        },
        Row::of(&[Unit::Module("config")], "the settings, as the operator writes them"),
        Row {
            units: &[Unit::EachIn("domain")],
            neighbours: Neighbours::WithoutCircle,
            reason: "the rules, pure. A noun is made of other nouns, but never in a circle",
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
        Row::of(&[Unit::Module("main")], "the command line; starts things, decides nothing"),
        Row::of(&[Unit::Module("lib")], "declares the modules"),
        Row::of(&[Unit::EachIn("cli")], "each command assembles its parts; no command uses another one"),
        Row::of(&[Unit::Within("http", "notify")], "knows HTTP and wire types"),
        Row::of(&[Unit::Within("apps", "reload")], "replaces the configuration that the whole state was made from"),
        Row::of(&[Unit::Within("apps", "status")], "reports on the whole state"),
        Row {
            units: &[Unit::EachIn("delivery")],
            neighbours: Neighbours::WithoutCircle,
            reason: "brings each device to its provider",
        },
        Row::of(&[Unit::EachIn("http")], "all API errors and their HTTP responses"),
        Row {
            units: &[Unit::EachIn("apps")],
            neighbours: Neighbours::WithoutCircle,
            reason: "which app ID is served by which provider",
        },
        Row::of(&[Unit::EachIn("config")], "the settings; those of an app by its provider"),
        Row {
            units: &[Unit::EachIn("providers")],
            neighbours: Neighbours::Only(&["device_key", "log_throttle"]),
            reason: "each provider knows one push service; providers never import one another",
        },
        Row::of(&[Unit::Module("outbound")], "the settings of every outgoing connection"),
        Row::of(&[Unit::Module("notification")], "what is to be delivered, pure"),
    ],
};

/// The packages with Rust files.
const PACKAGES: [&str; 4] = ["identity", "push-gateway", "shared", "tests"];

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
fn external_crates_are_named_only_where_they_belong() {
    assert_none("crates out of their place", &rules::crates_out_of_place(&sources()));
}

#[test]
fn every_file_says_what_it_is() {
    assert_none("no //! on the first line", &rules::without_header(&sources()));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    assert_none("longer than 300 lines without tests", &rules::too_long(&sources()));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    assert_none("names that say nothing", &rules::empty_names(&sources()));
}

#[test]
fn the_top_level_is_the_one_that_was_agreed() {
    assert_none("not in the agreed top level", &rules::strangers_at_the_top(&top_level(root())));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    assert_none("paths of one machine", &rules::machine_paths(&tracked_files(root())));
}

#[test]
fn the_check_sees_the_tree() {
    let files = sources();
    for path in ["identity/src/lib.rs", "push-gateway/src/lib.rs", "shared/src/lib.rs", "tests/tidy.rs"] {
        assert!(files.iter().any(|file| file.path == path), "{path} is not seen");
    }
    assert!(tracked_files(root()).iter().any(|file| file.path == "Cargo.toml"));
}
