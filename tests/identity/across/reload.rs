//! The configuration read again while the server runs: what changes, what stays, and what a bad one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::api::Api;
use harness::wait::wait_until;
use harness::world::identity::{DEADLINE, Settings, World, v2};
use serde_json::json;

const READ: &str = "the configuration was read again";
const KEPT: &str = "the previous one stays in use";
const ALICE: &str = "@alice:hs.example";

/// A world of one process and its configuration file.
struct Configured {
    world: World,
    /// As it was at start.
    text: String,
}

impl Configured {
    async fn start(tables: &str) -> Self {
        let one_process = Some("the reload of a process");
        let world = World::with(Settings { tables, one_process, ..Settings::default() }).await;
        let text = std::fs::read_to_string(world.server.folder().join("config.toml")).expect("the configuration");
        Self { world, text }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.world.server.folder().join("config.toml"), text).expect("a file");
    }

    /// How often the log says `text` so far.
    fn times(&self, text: &str) -> usize {
        self.world.server.logs().matches(text).count()
    }

    /// Waits until the log says `text` once more than `before`.
    async fn once_more(&self, text: &str, before: usize) {
        wait_until(text, DEADLINE, || self.times(text) > before).await;
    }

    /// Writes `text`, sends SIGHUP, and waits until the log says `result` once more.
    async fn hang_up_with(&self, text: &str, result: &str) {
        let before = self.times(result);
        self.write(text);
        self.world.server.signal("HUP");
        self.once_more(result, before).await;
    }

    /// The last line of the log with `text`.
    fn last(&self, text: &str) -> String {
        self.world.server.logs().lines().rfind(|line| line.contains(text)).expect("a line").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_limits_mail_terms_and_templates_change_without_a_restart() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let alice = world.register(ALICE).await;

    let denied = format!("{}\n[registration]\ndeny_servers = [\"hs.example\"]\n", configured.text);
    configured.hang_up_with(&denied, READ).await;
    let body = world.homeserver.open_id_token("@bob:hs.example");
    world.api.post(&v2("/account/register"), body).send().await.refused(403, "M_UNAUTHORIZED");
    configured.hang_up_with(&configured.text, READ).await;
    world.register("@bob:hs.example").await;

    let limited = format!("{}\n[limits]\nemail_per_account = {{ burst = 1, every = \"1h\" }}\n", configured.text);
    configured.hang_up_with(&limited, READ).await;
    world.request_token(&alice, "one@example.com").await;
    let body = json!({ "client_secret": "x", "email": "two@example.com", "send_attempt": 1 });
    world.ask(&alice, body.clone()).await.refused(429, "M_LIMIT_EXCEEDED");
    configured.hang_up_with(&format!("{}\n[limits]\nenabled = false\n", configured.text), READ).await;
    world.ask(&alice, body).await.expect(200);

    let from = configured.text.replace("[email]\n", "[email]\nfrom = \"New <new@id.example>\"\n");
    assert_ne!(from, configured.text);
    configured.hang_up_with(&from, READ).await;
    world.request_token(&alice, "three@example.com").await;
    let mail = world.mail.mails_to("three@example.com").pop().expect("a mail");
    let message = mail.message();
    assert!(message.header("From").is_some_and(|from| from.contains("new@id.example")), "{:?}", message.header("From"));

    let terms = format!(
        "{}\n[terms.policies.tos]\nversion = \"1\"\nen = {{ name = \"T\", url = \"https://example.org/tos\" }}\n",
        configured.text
    );
    configured.hang_up_with(&terms, READ).await;
    world.api.get(&v2("/account")).bearer(&alice).send().await.refused(403, "M_TERMS_NOT_SIGNED");
    configured.hang_up_with(&configured.text, READ).await;
    world.api.get(&v2("/account")).bearer(&alice).send().await.expect(200);

    let folder = world.server.folder().join("templates/matrix-org");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("verify_response_template.html"), "<p>OURS %(message)s</p>").expect("a file");
    configured.hang_up_with(&format!("{}\n[templates]\ndir = \"templates\"\n", configured.text), READ).await;
    let page = world.api.get(&v2("/validate/email/submitToken")).send().await;
    assert!(page.text().contains("OURS"), "{}", page.text());
    assert_eq!(configured.times(KEPT), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_keeps_its_value() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let changed = configured
        .text
        .replace("[http]\n", "[http]\nworkers = 3\n")
        .replace("[server]\n", "[server]\naliases = [\"other.example\"]\n");
    let tables =
        "\n[legacy_v1]\nprofile = \"full\"\n[lookup]\nindex = \"database\"\nalgorithms = [\"sha256\", \"none\"]\n";
    configured.hang_up_with(&format!("{changed}{tables}"), READ).await;
    for key in ["[http]", "[lookup] index, index_memory, poll_interval", "[legacy_v1] profile"] {
        let line = format!("a change of this setting needs a restart key=\"{key}\"");
        assert!(world.server.logs().contains(&line), "{line}: {}", world.server.logs());
    }
    assert_eq!(configured.times("needs a restart"), 3, "{}", world.server.logs());
    let versions = world.api.get("/_matrix/identity/versions").send().await.expect(200);
    assert_eq!(versions["versions"][0], "v1.1", "the profile is the old one");
    let alice = world.register(ALICE).await;
    let details = world.api.get(&v2("/hash_details")).bearer(&alice).send().await.expect(200);
    assert_eq!(details["algorithms"], json!(["sha256", "none"]), "the rest of the section has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let text = &configured.text;
    let denied = format!("{text}\n[registration]\ndeny_servers = [\"hs.example\"]\n");
    for (bad, reason) in [
        ("[server".to_owned(), "config.toml"),
        (format!("{denied}deny_serverz = 1\n"), "did you mean deny_servers?"),
        (format!("{denied}[terms]\nfile = \"nowhere.yaml\"\n"), "nowhere.yaml"),
        (format!("{denied}[templates]\ndir = \"nowhere\"\n"), "[templates] dir"),
        (format!("{denied}[sms]\nprovider = \"twilio\"\n"), "[sms.twilio]"),
        (format!("{denied}[keys]\nrevoked = [\"ed25519:0\"]\n"), "ed25519:0"),
        (denied.replace("[email]\n", "[email]\nfrom = \"no address\"\n"), "[email] from"),
        (denied.replace("extra_ca_file = ", "extra_ca_file = \"nowhere.pem\" # "), "nowhere.pem"),
    ] {
        configured.hang_up_with(&bad, KEPT).await;
        let line = configured.last(KEPT);
        assert!(line.contains("ERROR") && line.contains(reason), "{reason} is not in: {line}");
        world.register(ALICE).await;
    }
    assert_eq!(configured.times(READ), 0);
    configured.hang_up_with(text, READ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_file_is_seen_without_a_signal() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    configured.write(&format!("{}\n[registration]\ndeny_servers = [\"hs.example\"]\n", configured.text));
    configured.once_more(READ, 0).await;
    let body = world.homeserver.open_id_token(ALICE);
    world.api.post(&v2("/account/register"), body).send().await.refused(403, "M_UNAUTHORIZED");
    // A file that a configuration names before it exists, and its next version.
    configured.write(&format!("{}\n[terms]\nfile = \"terms.json\"\n", configured.text));
    configured.once_more(KEPT, 0).await;
    for version in ["1", "2"] {
        let policy = json!({ "version": version, "en": { "name": "T", "url": "https://a.example/1" } });
        let policies = json!({ "policies": { "tos": policy } });
        let before = configured.times(READ);
        std::fs::write(world.server.folder().join("terms.json"), policies.to_string()).expect("a file");
        configured.once_more(READ, before).await;
        assert_eq!(world.api.get(&v2("/terms")).send().await.expect(200), policies);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_later_is_watched_too_and_no_change_is_missed() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let folder = world.server.folder();
    assert!(!world.server.logs().contains("has changed"), "the key that the start has written is no change");
    // A folder of templates that a reload has brought: a broken one, and its repair.
    std::fs::create_dir_all(folder.join("templates/matrix-org")).expect("a folder");
    configured.hang_up_with(&format!("{}\n[templates]\ndir = \"templates\"\n", configured.text), READ).await;
    let mail = folder.join("templates/matrix-org/verification_template.eml.j2");
    for (text, result) in [("{% if %}", KEPT), ("OURS {{ link }}", READ)] {
        let before = configured.times(result);
        std::fs::write(&mail, text).expect("a file");
        configured.once_more(result, before).await;
        assert!(configured.last(result).contains("templates/matrix-org"), "{}", configured.last(result));
    }
    // A copy of the same length and age in its place.
    let file = folder.join("config.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration").replace("templates\"\n", "templatez\"\n");
    let modified = file.metadata().and_then(|data| data.modified()).expect("a file");
    std::fs::write(folder.join("next.toml"), text).expect("a file");
    let next = std::fs::File::options().write(true).open(folder.join("next.toml")).expect("a file");
    next.set_modified(modified).expect("a file of ours");
    let before = configured.times(KEPT);
    std::fs::rename(folder.join("next.toml"), &file).expect("a file");
    configured.once_more(KEPT, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_file_changes_nothing_and_readiness_notes_it_until_it_is_repaired() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let admin = Api::new(&world.server.admin_url());
    let named = format!("{}\n[registration]\nallow_servers = [\"other.example\"]\n", configured.text);
    configured.hang_up_with(&named, READ).await;
    for (text, result, failed) in [("", KEPT, 1), (" \n", KEPT, 1), (&named, READ, 0)] {
        configured.hang_up_with(text, result).await;
        let body = world.homeserver.open_id_token(ALICE);
        world.api.post(&v2("/account/register"), body).send().await.refused(403, "M_UNAUTHORIZED");
        let ready = admin.get("/ready").send().await;
        let has_note = ready.text().contains("is unusable since its last change");
        assert!(ready.code() == 200 && has_note == (failed == 1), "{ready}");
        let metrics = admin.get("/metrics").send().await;
        assert!(metrics.text().contains(&format!("identity_config_reload_failed {failed}\n")), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_in_pages_and_in_the_log() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    let named = configured.text.replace("[server]\n", "[server]\noperator = \"Quarry\"\nname = \"new.example\"\n");
    configured.hang_up_with(&named, READ).await;
    let page = world.api.get(&v2("/validate/email/submitToken")).send().await;
    assert!(page.text().contains("Quarry"), "{}", page.text());
    let line = configured.last("the name in signatures has changed");
    assert!(line.contains("WARN") && line.contains("new.example"), "{line}");
    // Notes that were known before are not repeated.
    let notes = configured.times("allow_servers is empty");
    configured.hang_up_with(&named, READ).await;
    assert_eq!(configured.times("allow_servers is empty"), notes);
}

/// Clients that send requests until `is_over`; each request must succeed.
async fn load(api: Arc<Api>, token: String, is_over: Arc<AtomicBool>) -> usize {
    let mut requests = 0;
    while !is_over.load(Ordering::Relaxed) {
        api.get(&v2("/account")).bearer(&token).send().await.expect(200);
        api.get(&v2("/hash_details")).bearer(&token).send().await.expect(200);
        api.get(&v2("/terms")).send().await.expect(200);
        let key = api.get(&v2("/pubkey/ed25519:0")).send().await.expect(200);
        assert!(key["public_key"].is_string());
        requests += 4;
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let configured = Configured::start("").await;
    let token = configured.world.register(ALICE).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let api = Arc::new(Api::new(&configured.world.server.url()));
            tokio::spawn(load(api, token.clone(), is_over.clone()))
        })
        .collect();
    for round in 0..50 {
        let good =
            format!("{}\n[limits]\nregister_per_ip = {{ burst = {}, every = \"1s\" }}\n", configured.text, round + 5);
        configured.hang_up_with(&good, READ).await;
        let bad = if round % 2 == 0 { format!("{good}x y") } else { format!("{good}register_per_ipp = 1\n") };
        configured.hang_up_with(&bad, KEPT).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for client in clients {
        requests += client.await.expect("no request failed");
    }
    assert!(requests > 100, "{requests} requests");
    assert!(configured.times(READ) >= 50 && configured.times(KEPT) >= 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_or_homeserver_that_is_denied_after_the_registration_can_only_log_out() {
    let configured = Configured::start("").await;
    let world = &configured.world;
    for denied in ["deny_servers = [\"hs.*\"]", "deny_users = [\"@alice:hs.example\"]"] {
        configured.hang_up_with(&configured.text, READ).await;
        let alice = world.register(ALICE).await;
        configured.hang_up_with(&format!("{}\n[registration]\n{denied}\n", configured.text), READ).await;
        for path in ["/account", "/hash_details"] {
            world.api.get(&v2(path)).bearer(&alice).send().await.refused(403, "M_UNAUTHORIZED");
        }
        let body = json!({ "client_secret": "x", "email": "bob@example.com", "send_attempt": 1 });
        world.ask(&alice, body).await.refused(403, "M_UNAUTHORIZED");
        let again = world.homeserver.open_id_token(ALICE);
        world.api.post(&v2("/account/register"), again).send().await.refused(403, "M_UNAUTHORIZED");
        world.api.post(&v2("/account/logout"), json!({})).bearer(&alice).send().await.expect(200);
    }
    // Another user of the same homeserver is not meant.
    let bob = world.register("@bob:hs.example").await;
    world.api.get(&v2("/account")).bearer(&bob).send().await.expect(200);
}
