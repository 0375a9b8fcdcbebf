//! What a message says: by brand and language, and never more than one SMS.

use harness::binary;
use harness::process::{new_folder, run};

use super::{ALICE, ALLOWED, ask, texts, wish};
use harness::homeserver::Homeserver;
use harness::mail::{Offer, Sink};
use harness::process::Server;
use harness::world::identity::{Settings, World};

/// A world whose templates are these files.
async fn world(files: &[(&str, &str)], tables: &str) -> World {
    let folder = new_folder();
    std::fs::create_dir(folder.path().join("templates")).expect("an empty folder");
    for (name, text) in files {
        let path = folder.path().join("templates").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("the folder takes files");
    }
    let homeserver = Homeserver::start("hs.example").await;
    let mail = Sink::start_with(Offer::default(), homeserver.authority()).await;
    let tables = format!("[templates]\ndir = \"templates\"\n{tables}");
    let settings = Settings { tables: &tables, ..Settings::default() };
    let config = settings.toml(&homeserver.config(folder.path()), &mail.config());
    let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
    let api = harness::api::Api::new(&server.url());
    World { server, homeserver, mail, api }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_the_language_that_was_asked_for_in_the_words_of_the_brand() {
    let files = [
        ("matrix-org/de/verification_template.sms.j2", "Dein Code: {{ token }}\n"),
        ("acme/verification_template.sms", "%(token)s <acme>"),
    ];
    let world = world(&files, ALLOWED).await;
    let alice = world.register(ALICE).await;
    let asked = |n: u32| ask(&world, &alice, wish(&format!("0770090000{n}"), "GB", "s", 1));
    asked(1).send().await.expect(200);
    asked(2).header("accept-language", "fr, de-CH;q=0.9").send().await.expect(200);
    asked(3).query("lang", "de").send().await.expect(200);
    asked(4).query("brand", "acme").query("lang", "de").send().await.expect(200);
    asked(5).query("brand", "../acme").send().await.expect(200);
    let without_code: Vec<String> = texts(&world).iter().map(|text| text.text.replace(&text.code(), "…")).collect();
    assert_eq!(
        without_code,
        ["… is your Matrix code", "Dein Code: …", "Dein Code: …", "… <acme>", "… is your Matrix code"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_have_as_many_digits_as_the_operator_wants_and_are_not_counted_up() {
    let world = world(&[], &format!("{ALLOWED}token_digits = 8\n[limits]\nenabled = false\n")).await;
    let alice = world.register(ALICE).await;
    for n in 0..20 {
        ask(&world, &alice, wish("07700900001", "GB", &format!("s{n}"), 1)).send().await.expect(200);
    }
    let mut codes: Vec<String> = texts(&world).iter().map(super::Text::code).collect();
    assert!(codes.iter().all(|code| code.len() == 8), "{codes:?}");
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_fails_costs_the_user_and_the_operator_nothing() {
    // It succeeds with the code of the check at the start.
    let template = "{{ token }}{% if token != '000000' %}{{ broken() }}{% endif %}";
    let files = [("matrix-org/verification_template.sms.j2", template)];
    let world = world(&files, &format!("{ALLOWED}max_per_day = 2\n")).await;
    let alice = world.register(ALICE).await;
    // One more than the limits of a day and of a number.
    for attempt in 1..=6 {
        ask(&world, &alice, wish("07700900001", "GB", "s", attempt)).send().await.refused(500, "M_UNKNOWN");
    }
    assert!(texts(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_two_messages_is_refused_at_start() {
    let folder = new_folder();
    let template = format!("body_template = \"{}{{token}}\"", "ж".repeat(65));
    let config = format!("[server]\ndata_dir = \"data\"\n[sms]\n{template}\n");
    std::fs::write(folder.path().join("config.toml"), config).expect("the folder takes files");
    let output = run(binary::identity(), folder.path(), &["check-config"], &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("[sms] body_template"), "{said}");
}
