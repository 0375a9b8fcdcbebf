//! Configuration files of other programs, which operators pass by mistake or in the hope that they are read.
//!
//! Invariant: a text counts as another program's file only by keys that none of our sections has.

use std::path::Path;

/// A program's configuration file.
struct Program {
    /// Beginnings of lines; every one must occur. Alternatives are separated by `|`.
    marks: &'static [&'static str],
    advice: &'static str,
}

const PROGRAMS: [Program; 6] = [
    Program {
        marks: &[
            "[general]|[DEFAULT]|[db]|[crypto]",
            "server.name|ed25519.signingkey|clientapi.http|terms.path|email.smtphost|db.file",
        ],
        advice: "this is a sydent.conf; --config expects a TOML file: copy the values into a file like \
                 deploy/identity.toml, whose comments name each of them",
    },
    Program {
        marks: &["apps:", "http:|log:|metrics:|proxy:", "  "],
        advice: "this is a sygnal.yaml; --config expects a TOML file: write one [apps.\"…\"] for each of \
                 its apps, see deploy/push-gateway.toml",
    },
    Program {
        marks: &["matrix:", "key:|storage:|server:|threepid:"],
        advice: "this is a ma1sd.yaml; --config expects a TOML file: copy the values into a file like \
                 deploy/identity.toml, whose comments name each of them",
    },
    Program {
        marks: &["server_name:", "listeners:|database:|media_store_path:|signing_key_path:|report_stats:"],
        advice: "this is Synapse's homeserver.yaml; --config expects a TOML file, see deploy/",
    },
    Program {
        marks: &["global:", "  server_name:"],
        advice: "this is a dendrite.yaml; --config expects a TOML file, see deploy/",
    },
    Program {
        marks: &["{", "\"default_server_config\"|  \"default_server_config\"|    \"default_server_config\""],
        advice: "this is Element's config.json; --config expects a TOML file, see deploy/",
    },
];

/// The advice for another program's file.
pub(super) fn recognise(text: &str) -> Option<&'static str> {
    let has = |mark: &str| text.lines().any(|line| line.starts_with(mark));
    let is_of = |program: &&Program| program.marks.iter().all(|marks| marks.split('|').any(has));
    PROGRAMS.iter().find(is_of).map(|program| program.advice)
}

/// A hint for files whose names promise another format.
pub(super) fn expected_form(file: Option<&Path>) -> &'static str {
    let extension = file.and_then(Path::extension).and_then(|extension| extension.to_str());
    match extension {
        Some("yaml" | "yml" | "conf" | "cfg" | "ini" | "json") => {
            "; --config expects a TOML file, and this one is named as another format: see the example in deploy/"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::recognise;

    #[test]
    fn another_programs_file_is_named() {
        for (text, name) in [
            ("[general]\nserver.name = id.example\n\n[db]\ndb.file = x.db\n", "sydent.conf"),
            ("[crypto]\ned25519.signingkey = ed25519 0 x\n", "sydent.conf"),
            ("http:\n  bind_addresses: []\napps:\n  com.example.*:\n    type: gcm\n", "sygnal.yaml"),
            ("matrix:\n  domain: 'example.org'\nkey:\n  path: 'x'\n", "ma1sd.yaml"),
            ("server_name: \"a\"\nlisteners:\n  - port: 8008\n", "homeserver.yaml"),
            ("version: 2\nglobal:\n  server_name: a\n", "dendrite.yaml"),
            ("{\n    \"default_server_config\": {}\n}", "config.json"),
        ] {
            assert!(recognise(text).is_some_and(|advice| advice.contains(name)), "{text}");
        }
        for ours in ["", "[server]\nname = 'x'\n[http]\nbind = '127.0.0.1:1'\n", "# server.name = 'x'\n[server]\n"] {
            assert_eq!(recognise(ours), None, "{ours}");
        }
    }
}
