//! Configuration files of other programs, which operators pass by mistake or in the hope that they are read.
//!
//! Invariant: a text counts as another program's file only by lines that none of our files has.

use std::path::Path;

/// A kind of file that is not ours.
struct Foreign {
    name: &'static str,
    /// Beginnings of lines without their indentation; every one must occur. Alternatives are separated by `|`.
    marks: &'static [&'static str],
    use_: Use,
}

/// What an operator does with the file.
#[derive(Clone, Copy)]
enum Use {
    /// Copies values into the file of the service with this prefix.
    Copy(&'static str),
    /// Names the file in ours.
    Name(&'static str),
    /// Runs another program with it.
    Other,
}

const IDENTITY: &str = "IDENTITY";
const PUSH_GATEWAY: &str = "PUSH_GATEWAY";

const FILES: [Foreign; 13] = [
    Foreign {
        name: "a sydent.conf",
        marks: &[
            "[general]|[DEFAULT]|[db]|[crypto]",
            "server.name|ed25519.signingkey|clientapi.http|terms.path|email.smtphost|db.file|pidfile.path|log.path",
        ],
        use_: Use::Copy(IDENTITY),
    },
    Foreign { name: "a sygnal.yaml", marks: &["apps:"], use_: Use::Copy(PUSH_GATEWAY) },
    Foreign {
        name: "a ma1sd.yaml (or mxisd.yaml)",
        marks: &["matrix:|matrix.domain:|matrix.domain =|synapseSql:|synapseSql.|ldap:|ldap.|threepid:|threepid."],
        use_: Use::Copy(IDENTITY),
    },
    Foreign { name: "a dendrite.yaml", marks: &["global:", "server_name:"], use_: Use::Other },
    Foreign {
        name: "Synapse's homeserver.yaml",
        marks: &["server_name:", "listeners:|database:|media_store_path:|signing_key_path:|report_stats:"],
        use_: Use::Other,
    },
    Foreign { name: "the file of Conduit or a server of its family", marks: &["[global]|[global."], use_: Use::Other },
    Foreign {
        name: "a file of environment variables",
        marks: &["IDENTITY__|PUSH_GATEWAY__|export IDENTITY__|export PUSH_GATEWAY__"],
        use_: Use::Name("your container or systemd (EnvironmentFile)"),
    },
    Foreign { name: "a Docker Compose file", marks: &["services:", "image:|build:"], use_: Use::Other },
    Foreign {
        name: "a certificate or key in PEM",
        marks: &["-----BEGIN "],
        use_: Use::Name("the key of a certificate or key, such as [http] tls_cert_file"),
    },
    Foreign { name: "a file of signing keys", marks: &["ed25519 "], use_: Use::Name("[keys] file of identity") },
    Foreign {
        name: "Element's config.json",
        marks: &["{", "\"default_server_config\"|\"default_hs_url\""],
        use_: Use::Other,
    },
    Foreign {
        name: "a service account of Firebase, in JSON",
        marks: &["{", "\"service_account\"|\"private_key\"|\"project_info\"|\"client_email\""],
        use_: Use::Name("[apps.\"…\"] service_account_file of push-gateway"),
    },
    Foreign { name: "a file in JSON", marks: &["{"], use_: Use::Other },
];

/// Sections that one of our services has and the other has not, with the prefix of the service.
const OWN_SECTIONS: [(&str, &[&str]); 2] = [
    (PUSH_GATEWAY, &["[apps.", "[apps]", "[dedup]", "[routing]", "[rejection_breaker]", "[endpoints]", "[relay]"]),
    (
        IDENTITY,
        &[
            "[server]",
            "[keys]",
            "[database]",
            "[email]",
            "[sms]",
            "[sms.",
            "[registration]",
            "[sessions]",
            "[lookup]",
            "[invites]",
            "[legacy_v1]",
            "[templates]",
            "[terms]",
            "[federation]",
        ],
    ),
];

/// The advice for a file that is not of the service with this prefix.
pub(super) fn recognise(text: &str, prefix: &str) -> Option<String> {
    let has = |mark: &str| text.lines().any(|line| line.trim_start().starts_with(mark));
    let is_of = |file: &&Foreign| {
        file.marks.iter().all(|marks| {
            marks.split('|').any(|mark| {
                // JSON may be one line.
                if mark.starts_with('"') { text.contains(mark) } else { has(mark) }
            })
        })
    };
    // `{` in a list of ours begins a line too.
    let is_json = text.trim_start().starts_with('{');
    let known = FILES.iter().filter(|file| is_json || file.marks[0] != "{").find(is_of);
    if let Some(file) = known {
        return Some(format!("this is {}; {}", file.name, next_step(file.use_, prefix)));
    }
    let sections = |wanted: bool| {
        let of = OWN_SECTIONS.iter().filter(move |(service, _)| (*service == prefix) == wanted);
        of.flat_map(|(_, sections)| sections.iter()).filter(|section| has(section)).count()
    };
    let is_one_of_ours = OWN_SECTIONS.iter().any(|(service, _)| *service == prefix);
    (is_one_of_ours && sections(false) > 0 && sections(true) == 0 && (sections(false) > 1 || has("[apps"))).then(|| {
        let other = if prefix == IDENTITY { PUSH_GATEWAY } else { IDENTITY };
        format!("this is the file of {}; {}", program(other), next_step(Use::Other, prefix))
    })
}

fn next_step(use_: Use, prefix: &str) -> String {
    let own = program(prefix);
    let start = format!("start from deploy/{own}.toml (see Install in {own}/README.md), and run `{own} check-config`");
    match use_ {
        Use::Copy(service) if service == prefix => format!(
            "--config expects a TOML file: copy the values into a file like deploy/{own}.toml, whose comments name each of \
             them, and run `{own} check-config --config` with it"
        ),
        Use::Copy(service) => format!("it belongs to {}; --config expects a TOML file: {start}", program(service)),
        Use::Name(place) => format!("name it in {place}; --config expects a TOML file: {start}"),
        Use::Other => format!("--config expects a TOML file: {start}"),
    }
}

/// The program and its folder.
fn program(prefix: &str) -> &'static str {
    if prefix == PUSH_GATEWAY { "push-gateway" } else { "identity" }
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
    use super::{IDENTITY, PUSH_GATEWAY, recognise};

    #[test]
    fn another_programs_file_is_named_with_the_next_step() {
        for (text, name) in [
            ("[general]\nserver.name = id.example\n\n[db]\ndb.file = x.db\n", "sydent.conf"),
            ("[general]\n  server.name = id.example\n", "sydent.conf"),
            ("[crypto]\ned25519.signingkey = ed25519 0 x\n", "sydent.conf"),
            ("http:\n  bind_addresses: []\napps:\n  com.example.*:\n    type: gcm\n", "sygnal.yaml"),
            ("apps:\n  com.example:\n    type: apns\n", "sygnal.yaml"),
            ("matrix:\n  domain: 'example.org'\nkey:\n  path: 'x'\n", "ma1sd.yaml"),
            ("matrix.domain: 'example.org'\nkey.path: 'x'\n", "mxisd.yaml"),
            ("synapseSql:\n  enabled: true\n", "ma1sd.yaml"),
            ("server_name: \"a\"\nlisteners:\n  - port: 8008\n", "homeserver.yaml"),
            ("version: 2\nglobal:\n    server_name: a\n", "dendrite.yaml"),
            ("[global]\nserver_name = \"a\"\n", "Conduit"),
            ("{\n    \"default_server_config\": {}\n}", "config.json"),
            ("{\"default_server_config\": {\"m.homeserver\": {}}}", "config.json"),
            ("{\"type\": \"service_account\", \"private_key\": \"x\"}", "Firebase"),
            ("-----BEGIN CERTIFICATE-----\nx\n", "PEM"),
            ("ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW\n", "signing keys"),
        ] {
            for (prefix, own) in [(IDENTITY, "identity"), (PUSH_GATEWAY, "push-gateway")] {
                let advice = recognise(text, prefix).unwrap_or_else(|| panic!("{text}"));
                let names_own = advice.contains(&format!("deploy/{own}.toml")) && advice.contains("check-config");
                assert!(advice.contains(name) && names_own, "{advice}");
            }
        }
        for ours in ["", "[server]\nname = 'x'\n[http]\nbind = '127.0.0.1:1'\n", "# server.name = 'x'\n[server]\n"] {
            assert_eq!(recognise(ours, IDENTITY), None, "{ours}");
        }
    }

    #[test]
    fn the_file_of_our_other_service_is_named() {
        let push = "[http]\n[apps.'a.b']\ntype = 'fcm'\n[routing]\n";
        assert!(recognise(push, IDENTITY).unwrap().contains("the file of push-gateway"));
        assert_eq!(recognise(push, PUSH_GATEWAY), None);
        let identity = "[server]\npublic_base_url = 'x'\n[email]\nhost = 'x'\n";
        assert!(recognise(identity, PUSH_GATEWAY).unwrap().contains("the file of identity"));
        assert_eq!(recognise(identity, IDENTITY), None);
        assert_eq!(recognise("[http]\n[email]\n", PUSH_GATEWAY), None);
    }
}
