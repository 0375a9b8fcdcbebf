//! The terms of service: public, accepted by account, required where they gate.
//!
//! Invariant: whether an account has agreed is asked of `GET account`, as clients do.

use std::path::Path;

use harness::api::Api;
use harness::process::{Server, new_folder};
use harness::wait::wait_for;
use harness::{binary, homeserver::Homeserver};
use serde_json::{Value, json};

use harness::world::identity::{DEADLINE, Settings, World, v2};

/// Two policies to accept, one in two languages, and one that may be left.
fn policies() -> Value {
    json!({"policies": {
        "privacy": {
            "version": "1.2",
            "en": {"name": "Privacy", "url": "https://example.org/privacy-en"},
            "fr": {"name": "Confidentialité", "url": "https://example.org/privacy-fr"},
        },
        "tos": {"version": "1", "en": {"name": "Terms", "url": "https://example.org/tos-en"}},
        "mailing": {"version": "1", "required": false, "en": {"name": "Mailing", "url": "https://example.org/mailing-en"}},
    }})
}

/// The public form.
fn published() -> Value {
    let mut published = policies();
    published["policies"]["mailing"].as_object_mut().expect("a policy").remove("required");
    published
}

const DOCS: &str = "
master_version: 3
docs:
  privacy:
    version: '1.2'
    langs:
      en: {name: Privacy, url: https://example.org/privacy-en}
      fr: {name: Confidentialité, url: https://example.org/privacy-fr}
  tos:
    version: '1'
    langs:
      en: {name: Terms, url: https://example.org/tos-en}
  mailing:
    version: '1'
    required: false
    langs:
      en: {name: Mailing, url: https://example.org/mailing-en}
";

/// A server whose terms lie in `terms.yaml` in its folder.
struct WithFile {
    server: Server,
    homeserver: Homeserver,
    api: Api,
}

impl WithFile {
    async fn start(terms: &str) -> Self {
        let (folder, homeserver) = (new_folder(), Homeserver::start("hs.example").await);
        write(folder.path(), terms);
        let tables = "[terms]\nfile = \"terms.yaml\"\n";
        let config = Settings { tables, ..Settings::default() }.toml(&homeserver.config(folder.path()), "");
        let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
        let api = Api::new(&server.url());
        Self { server, homeserver, api }
    }

    async fn register(&self, user: &str) -> String {
        let body = self.homeserver.open_id_token(user);
        let answer = self.api.post(&v2("/account/register"), body).send().await;
        answer.expect(200)["token"].as_str().expect("a token").to_owned()
    }

    /// Puts other terms into the file and has it read; `sign` is in the published new terms, or in the log
    /// if they are not taken.
    async fn reread(&self, terms: &str, sign: &str) {
        write(self.server.folder(), terms);
        self.server.signal("HUP");
        wait_for("the terms to be read again", DEADLINE, async || {
            let terms = self.api.get(&v2("/terms")).send().await.text();
            (terms.contains(sign) || self.server.logs().contains(sign)).then_some(())
        })
        .await;
    }
}

fn write(folder: &Path, terms: &str) {
    std::fs::write(folder.join("terms.yaml"), terms).expect("a file in the server's folder");
}

async fn accept(api: &Api, token: &str, urls: &[&str]) {
    let urls: Vec<String> = urls.iter().map(|page| format!("https://example.org/{page}")).collect();
    let answer = api.post(&v2("/terms"), json!({ "user_accepts": urls })).bearer(token).send().await;
    assert_eq!(answer.expect(200), json!({}));
}

async fn has_agreed(api: &Api, token: &str) -> bool {
    let answer = api.get(&v2("/account")).bearer(token).send().await;
    if answer.code() == 200 {
        return true;
    }
    answer.refused(403, "M_TERMS_NOT_SIGNED");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_the_file_tell_the_same_terms_to_everybody() {
    for terms in [policies().to_string(), serde_json::to_string_pretty(&policies()).unwrap(), DOCS.to_owned()] {
        let world = WithFile::start(&terms).await;
        assert_eq!(world.api.get(&v2("/terms")).send().await.expect(200), published());
        let token = world.register("@alice:hs.example").await;
        assert!(!has_agreed(&world.api, &token).await);
        accept(&world.api, &token, &["privacy-fr", "tos-en"]).await;
        assert!(has_agreed(&world.api, &token).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_language_of_each_required_policy_is_enough_over_several_requests() {
    let world = WithFile::start(DOCS).await;
    let alice = world.register("@alice:hs.example").await;
    let bob = world.register("@bob:hs.example").await;
    for (pages, agreed) in [
        (&[][..], false),
        (&["mailing-en", "privacy-en#", "privacy-de", ""], false),
        (&["privacy-en", "privacy-fr"], false),
        (&["tos-en"], true),
        (&[], true),
    ] {
        accept(&world.api, &alice, pages).await;
        assert_eq!(has_agreed(&world.api, &alice).await, agreed, "{pages:?}");
    }
    assert!(!has_agreed(&world.api, &bob).await, "each account agrees for itself");
    let again = world.register("@alice:hs.example").await;
    assert!(has_agreed(&world.api, &again).await, "the account has agreed, not one of its tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_whose_url_changes_is_to_be_accepted_again() {
    let world = WithFile::start(DOCS).await;
    let alice = world.register("@alice:hs.example").await;
    accept(&world.api, &alice, &["privacy-en", "tos-en"]).await;
    accept(&world.api, &alice, &["tos-2-en"]).await;

    world.reread(&DOCS.replace("tos-en", "tos-2-en"), "tos-2-en").await;
    assert!(!has_agreed(&world.api, &alice).await, "what was accepted before it was known does not count");
    accept(&world.api, &alice, &["tos-2-en"]).await;
    assert!(has_agreed(&world.api, &alice).await);
    // Another version or name of the same URL is agreed to already.
    world.reread(&DOCS.replace("version: '1'", "version: '7'"), "\"7\"").await;
    assert!(has_agreed(&world.api, &alice).await, "and so is what was accepted once");

    world.reread("policies: {}\nx: {", "the previous one stays in use").await;
    assert_eq!(world.api.get(&v2("/terms")).send().await.expect(200)["policies"]["tos"]["version"], "7");
    world.reread("policies: {}", "{\"policies\":{}}").await;
    let bob = world.register("@bob:hs.example").await;
    assert!(has_agreed(&world.api, &bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_in_the_settings_gate_what_the_specification_gates_and_nothing_else() {
    let tables = "[terms.policies.tos]\nversion = \"1\"\nen = { name = \"T\", url = \"https://example.org/tos-en\" }\n\
                  de = { name = \"B\", url = \"https://example.org/tos-de\" }\n";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    for path in ["/account", "/hash_details", "/3pid/getValidated3pid?sid=x&client_secret=x"] {
        world.api.get(&v2(path)).bearer(&token).send().await.refused(403, "M_TERMS_NOT_SIGNED");
        world.api.get(&v2(path)).send().await.refused(401, "M_UNAUTHORIZED");
    }
    for (path, status) in
        [("", 200), ("/terms", 200), ("/pubkey/ed25519:0", 200), ("/pubkey/isvalid?public_key=x", 200)]
    {
        assert_eq!(world.api.get(&v2(path)).bearer(&token).send().await.code(), status, "{path}");
    }
    assert_eq!(world.api.get("/_matrix/identity/versions").bearer(&token).send().await.code(), 200);
    let link = world.api.get(&v2("/validate/email/submitToken?sid=x&client_secret=x&token=x&confirm=1")).bearer(&token);
    assert_eq!(link.send().await.code(), 400, "the page of a link that leads nowhere");
    let threepid = json!({"medium": "email", "address": "a@b"});
    let unbind = json!({"mxid": "@alice:hs.example", "threepid": threepid, "sid": "x", "client_secret": "x"});
    world.api.post(&v2("/3pid/unbind"), unbind).bearer(&token).send().await.refused(404, "M_NO_VALID_SESSION");

    accept(&world.api, &token, &["tos-de"]).await;
    let session = world.validate(&token, "alice@example.com").await;
    assert!(!session.sid.is_empty());
    world.api.post(&v2("/account/logout"), json!({})).bearer(&token).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_a_list_of_texts() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    let terms = |user_accepts: Value| {
        world.api.post(&v2("/terms"), json!({ "user_accepts": user_accepts })).bearer(&token).send()
    };
    for odd in [json!("https://example.org/tos-en"), json!([{}]), json!(["x", 1]), json!([null]), json!({}), json!(5)] {
        terms(odd).await.refused(400, "M_INVALID_PARAM");
    }
    terms(Value::Null).await.refused(400, "M_MISSING_PARAMS");
    for fine in [json!([]), json!(["https://unknown.example/", "\u{0}", ""]), json!(vec!["x"; 10_000])] {
        assert_eq!(terms(fine).await.expect(200), json!({}));
    }
    assert_eq!(world.api.get(&v2("/terms")).send().await.expect(200), json!({"policies": {}}));
    world.api.post(&v2("/terms"), json!({"user_accepts": []})).send().await.refused(401, "M_UNAUTHORIZED");
}
