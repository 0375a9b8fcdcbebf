//! The commands that end by themselves: help, `check-config`, `generate-key`.

use super::{check_config, identity, in_workspace, text};

#[test]
fn help_says_what_there_is_and_how_it_is_configured() {
    let said = |arguments: &[&str]| {
        let output = identity(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output)
    };
    let help = said(&["--help"]);
    for word in [
        "serve",
        "migrate",
        "backup",
        "copy-database",
        "check-config",
        "generate-key",
        "rotate-key",
        "invites",
        "outbox",
        "IDENTITY__HTTP__BIND",
        "password_file",
        "deploy/identity.toml",
    ] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
    for command in ["serve", "check-config"] {
        let help = said(&[command, "--help"]);
        assert!(help.contains("--config <FILE>") && help.contains("IDENTITY_CONFIG"), "{help}");
    }
    assert!(said(&["serve", "--help"]).contains("SIGTERM"));
    let help = said(&["backup", "--help"]);
    assert!(help.contains("<FILE>") && help.contains("pg_dump") && help.contains("signing key"), "{help}");
    let help = said(&["copy-database", "--help"]);
    for word in ["--from <URL>", "--to-file <FILE>", "IDENTITY_COPY_FROM", "Stop all servers", "identity migrate"] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
    let help = said(&["outbox", "retry", "--help"]);
    assert!(help.contains("<ID|--dead|--all>") && help.contains("within 5 seconds"), "{help}");
    assert!(said(&["generate-key", "--help"]).contains("--id <ID>"));
    assert!(said(&["rotate-key", "--help"]).contains("SIGHUP"));
    for command in ["list", "revoke"] {
        let help = said(&["invites", command, "--help"]);
        assert!(["[IDS]...", "--address", "--room", "--sender"].iter().all(|word| help.contains(word)), "{help}");
    }
    assert_eq!(said(&["--version"]), format!("identity {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_command_fails() {
    for arguments in [&[][..], &["server"], &["serve", "--confg", "x"], &["generate-key", "--id"]] {
        assert!(!identity(arguments).output().unwrap().status.success(), "{arguments:?}");
    }
}

#[test]
fn a_generated_key_is_new_and_goes_into_the_key_file_as_it_is() {
    let generate = |arguments: &[&str]| {
        let output = identity(&["generate-key"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty());
        String::from_utf8(output.stdout).unwrap()
    };
    let (first, second) = (generate(&[]), generate(&["--id", "a_1"]));
    let (first_words, second_words) = (first.split_whitespace(), second.split_whitespace());
    let (first_words, second_words): (Vec<_>, Vec<_>) = (first_words.collect(), second_words.collect());
    assert_eq!((first_words[..2].join(" "), second_words[..2].join(" ")), ("ed25519 0".into(), "ed25519 a_1".into()));
    assert_eq!((first_words.len(), first_words[2].len()), (3, 43));
    assert_ne!(first_words[2], second_words[2]);

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys"), format!("{first}{second}")).unwrap();
    let output = check_config(folder.path(), "keys.file = 'keys'");
    assert!(output.status.success(), "{output:?}");

    let output = identity(&["generate-key", "--id", "a b"]).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(text(&output).contains("id"), "{output:?}");
}

#[test]
fn the_example_file_is_valid_and_noted_as_for_development() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(in_workspace("deploy/identity.toml")).unwrap();
    let output = check_config(folder.path(), &example);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.ends_with("the configuration is good\n"), "{said}");
    assert_eq!(said.matches("note: development only").count(), 2, "{said}");
    let made: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, ["identity.toml"], "checking makes nothing");
}

#[test]
fn what_is_dangerous_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[server]\npublic_base_url = 'https://id.example.org'\nname = 'example.org'\n\
                [federation]\ntls_verify = false\n[limits]\nenabled = false";
    let said = text(&check_config(folder.path(), toml));
    assert_eq!(said.matches("note: INSECURE").count(), 2, "{said}");
    assert!(said.contains("[server] name is example.org"), "{said}");
}

#[test]
fn what_the_removed_api_opens_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let full =
        "note: INSECURE: [legacy_v1] profile is \"full\": every client that reaches this server can look up addresses";
    let idle = "note: [legacy_v1] delegate_allow_ips has no effect";
    for (toml, note) in [
        ("[legacy_v1]\nprofile = 'full'\n[registration]\ndeny_servers = '*.evil'", Some(full)),
        ("[legacy_v1]\nprofile = 'off'\ndelegate_allow_ips = '10.0.0.0/8'", Some(idle)),
        ("[legacy_v1]\ndelegate_allow_ips = '10.0.0.0/8'", Some(idle)),
        ("[legacy_v1]\nprofile = 'delegate'\ndelegate_allow_ips = ['10.0.0.5', 'fd00::/8']", None),
        ("[legacy_v1]\nprofile = 'off'", None),
    ] {
        let output = check_config(folder.path(), toml);
        let said = text(&output);
        assert!(output.status.success(), "{toml}: {said}");
        let found: Vec<_> = said.lines().filter(|line| line.contains("[legacy_v1]")).collect();
        assert!(
            found.len() == usize::from(note.is_some()) && found.iter().all(|line| line.starts_with(note.unwrap())),
            "{toml}: {said}"
        );
    }
}

#[test]
fn each_error_is_one_line_that_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("bad.key", "ed25519 0 hunter2");
    write("bad.yaml", "policies: {privacy: {version: '1'");
    write("empty.pem", "");
    for (toml, expected) in [
        ("[http]\nbnid = 'x'", "[http] bnid: unknown key; did you mean bind?"),
        ("[http\nbind = 'x'", "identity.toml:1: "),
        ("[http]\nbind = []", "[http] bind: expected at least one address"),
        ("[http]\nworkers = 0", "[http] workers: expected at least 1"),
        ("[http]\ntls_cert_file = 'x'", "[http] tls_cert_file: needs tls_key_file"),
        ("[http]\ntls_cert_file = 'empty.pem'\ntls_key_file = 'empty.pem'", "empty.pem is empty"),
        ("[server]\npublic_base_url = 'http://x'", "expected https; or set [server] allow_http_base_url = true"),
        ("[server]\npublic_base_url = 'id.example.org'", "expected a URL such as \"https://id.example.org\""),
        ("[server]\nname = 'https://x'", "[server] name: expected a name such as"),
        ("[keys]\nsign_as = ['a b']", "[keys] sign_as: expected a name such as"),
        ("[keys]\nfile = 'bad.key'", "bad.key, line 1: the seed is not base64"),
        ("[terms]\nfile = 'bad.yaml'", "bad.yaml: "),
        ("[terms.policies.privacy]\nversion = '1'", "[terms.policies]: policy \"privacy\""),
        ("[terms]\nfile = 'x'\n[terms.policies.p]\nversion = '1'", "keep one of them"),
        ("[templates]\ndir = 'nowhere'", "nowhere"),
        ("[outbound]\nextra_ca_file = 'empty.pem'", "empty.pem is empty"),
        ("[federation]\nproxy = 'socks://u:hunter2@h'", "proxy"),
        ("[federation]\noverrides.'a b' = 'x:1'", "[federation.overrides] \"a b\": "),
        ("[email]\nhost = 'x'\nusername = 'u'", "password"),
        ("[limits]\nmail_global = { burst = 0, every = '1s' }", "[limits] mail_global: burst must be at least 1"),
        ("[outbox]\nretry_after = '99ms'", "[outbox] retry_after: expected at least \"100ms\""),
        ("[auth]\nmax_tokens_per_user = 0", "[auth] max_tokens_per_user: expected at least 1"),
        ("[legacy_v1]\nprofile = 'v1'", "[legacy_v1] profile: expected \"off\", \"invites\", \"delegate\" or \"full\""),
        ("[legacy_v1]\nprofile = 'delegate'", "[legacy_v1] delegate_allow_ips: profile \"delegate\" needs"),
        ("[legacy_v1]\nprofile = 'delegate'\ndelegate_allow_ips = 'hs.example'", "[legacy_v1] delegate_allow_ips: "),
        ("[legacy_v1]\nprofile = 'full'\ndelegate_allow_ips = '10.0.0.5'", "\"full\" serves everyone"),
        ("[legacy_v1]\nprofile = 'full'\n[registration]\nallow_servers = 'hs.example'", "[registration] allow_servers"),
    ] {
        let output = check_config(folder.path(), toml);
        let said = text(&output);
        // Without the value that was found, which the black-box tests check.
        let plain = match said.split_once(": found ") {
            Some((before, rest)) => format!("{before}: {}", rest.split_once("; ").map_or(rest, |(_, after)| after)),
            None => said.clone(),
        };
        assert!(!output.status.success() && plain.contains(expected), "{toml}: {said}");
        assert!(said.starts_with("identity: ") && !said.contains("hunter2"), "{toml}: {said}");
    }
    let output = identity(&["check-config", "--config", "/nowhere.toml"]).output().unwrap();
    assert!(text(&output).contains("cannot read /nowhere.toml"), "{output:?}");
    let output = identity(&["check-config"]).output().unwrap();
    assert!(text(&output).contains("[server] data_dir: not set"), "{output:?}");
}
