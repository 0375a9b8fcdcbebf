//! The configuration read again while the gateway runs: what changes, what stays, and what a bad one does.

use harness::apns::Apple;
use harness::world::push::{ANDROID, DEADLINE, IOS, World, android_device, iphone, token};
use serde_json::json;

use crate::push::admin::{measured, value};

const READ: &str = "the configuration was read again";
const KEPT: &str = "the previous one stays in use";

/// A world and its configuration file.
struct Configured {
    world: World,
    /// As it was at start.
    text: String,
}

impl Configured {
    async fn start() -> Self {
        let world = World::start("").await;
        let text = std::fs::read_to_string(world.server.folder().join("config.toml")).expect("the configuration");
        // Both push services have their connections.
        world.notify_message("$first", json!([iphone('a'), android_device("phone")])).await.expect(200);
        assert_eq!(world.apple.connections(), 1);
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
        harness::wait::wait_until(text, DEADLINE, || self.times(text) > before).await;
    }

    /// Writes `text`, sends SIGHUP, and waits until the log says `result` once more.
    async fn hang_up_with(&self, text: &str, result: &str) {
        let before = self.times(result);
        self.write(text);
        self.world.server.signal("HUP");
        self.once_more(result, before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_changed_is_another_one_and_the_others_stay_what_they_were() {
    let configured = Configured::start().await;
    let world = &configured.world;
    let google = world.google.connections();
    let changed = configured.text.replace("topic = \"com.example.app\"", "topic = \"com.example.renamed\"");
    assert_ne!(changed, configured.text);
    configured.hang_up_with(&changed, READ).await;
    assert!(world.server.logs().contains(&format!("changed=\"{IOS}\"")), "{}", world.server.logs());

    // Nothing is remembered of the changed app, everything of the other one.
    world.notify_message("$first", json!([iphone('a'), android_device("phone")])).await.expect(200);
    let pushed = world.apple.requests_for(&token('a'));
    let topics: Vec<_> = pushed.iter().map(|request| request.header("apns-topic").expect("a topic")).collect();
    assert_eq!(topics, ["com.example.app", "com.example.renamed"]);
    assert_eq!(world.google.messages_for("phone").len(), 1);
    world.notify_message("$second", json!([android_device("phone")])).await.expect(200);
    assert_eq!((world.google.connections(), world.google.token_requests().len()), (google, 1));
    // The new app has a connection of its own, and the old one's is closed; the provider token goes on.
    harness::wait::wait_until("the old connection's end", DEADLINE, || world.apple.open_connections() == 1).await;
    assert_eq!((world.apple.connections(), world.apple.provider_tokens()), (2, 1));
    let series = format!("push_apns_connections{{app=\"{IOS}\"}}");
    harness::wait::wait_for("the gauge", DEADLINE, async || {
        (value(&measured(world).await, &series) == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_not_changed_keeps_its_connection() {
    let configured = Configured::start().await;
    let world = &configured.world;
    let more = format!("{}ttl = \"1h\"\n", configured.text);
    configured.hang_up_with(&more, READ).await;
    configured.hang_up_with(&format!("{more}# and a comment\n"), READ).await;
    assert!(world.server.logs().contains(&format!("changed=\"{ANDROID}\"")), "{}", world.server.logs());
    world.notify_message("$second", json!([iphone('a'), android_device("phone")])).await.expect(200);
    assert_eq!((world.apple.connections(), world.apple.open_connections()), (1, 1));
    assert_eq!(world.google.messages_for("phone")[1]["message"]["android"]["ttl"], "3600s");
    assert_eq!(world.google.token_requests().len(), 1, "the account is the same");
    // What was delivered before is remembered.
    world.notify_message("$first", json!([iphone('a')])).await.expect(200);
    assert_eq!(world.apple.requests_for(&token('a')).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let configured = Configured::start().await;
    let world = &configured.world;
    let text = &configured.text;
    let renamed = text.replace("topic = \"com.example.app\"", "topic = \"com.example.renamed\"");
    for (bad, reason) in [
        ("[apps".to_owned(), "config.toml"),
        (String::new(), "no app is configured"),
        (format!("{renamed}tttl = \"1h\"\n"), "did you mean ttl?"),
        (renamed.replace("service-account.json", "nowhere.json"), "nowhere.json"),
        (format!("{renamed}[apps.\"a*c\"]\ntype = \"apns\"\n"), "apps."),
    ] {
        configured.hang_up_with(&bad, KEPT).await;
        let logs = world.server.logs();
        let line = logs.lines().rfind(|line| line.contains(KEPT)).expect("a line");
        assert!(line.contains("ERROR") && line.contains(reason), "{reason} is not in: {line}");
    }
    world.notify_message("$second", json!([iphone('a'), android_device("phone")])).await.expect(200);
    assert_eq!(world.apple.requests_for(&token('a'))[1].header("apns-topic"), Some("com.example.app"));
    assert_eq!((world.apple.connections(), configured.times(READ)), (1, 0));
    configured.hang_up_with(&renamed, READ).await;
    world.notify_message("$third", json!([iphone('a')])).await.expect(200);
    assert_eq!(world.apple.requests_for(&token('a'))[2].header("apns-topic"), Some("com.example.renamed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_file_is_seen_without_a_word() {
    let configured = Configured::start().await;
    let world = &configured.world;
    // A key that Apple does not know, then the right one again.
    let key_file = world.server.folder().join("apns.p8");
    std::fs::write(&key_file, Apple::start().await.key_pem()).expect("a file");
    configured.once_more(READ, 0).await;
    world.notify_message("$second", json!([iphone('a'), android_device("phone")])).await.refused(502, "M_UNKNOWN");
    world.apple.allow_token_updates();
    std::fs::write(&key_file, world.apple.key_pem()).expect("a file");
    configured.once_more(READ, 1).await;
    world.notify_message("$second", json!([iphone('a'), android_device("phone")])).await.expect(200);

    configured.write(&configured.text.replace(ANDROID, "com.example.moved"));
    configured.once_more(READ, 2).await;
    let mut moved = android_device("phone");
    let rejected = world.notify_message("$third", json!([moved])).await.expect(200);
    assert_eq!(rejected, json!({ "rejected": ["phone"] }), "the old app_id is unknown");
    moved["app_id"] = json!("com.example.moved");
    assert_eq!(world.notify_message("$third", json!([moved])).await.expect(200), json!({ "rejected": [] }));
    // Back again: what was rejected for want of an app is not remembered against it.
    configured.hang_up_with(&configured.text, READ).await;
    assert_eq!(
        world.notify_message("$third", json!([android_device("phone")])).await.expect(200),
        json!({ "rejected": [] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_that_is_unusable_can_be_repaired_in_place() {
    let configured = Configured::start().await;
    let file = configured.world.server.folder().join("proxy");
    std::fs::write(&file, "not a proxy").expect("a file");
    let text = configured.text.replace("[outbound]\n", &format!("[outbound]\nproxy_file = {file:?}\n"));
    configured.hang_up_with(&text, KEPT).await;
    std::fs::write(&file, "http://127.0.0.1:1\n").expect("a file");
    configured.once_more(READ, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_at_once_and_what_cannot_is_said() {
    let configured = Configured::start().await;
    let world = &configured.world;
    let changed = configured
        .text
        .replace("[http]\n", "[limits]\nmax_devices = 1\nper_pushkey = \"1/h\"\n[http]\nmax_body = \"1KiB\"\n");
    configured.hang_up_with(&changed, READ).await;
    world.notify_message("$two", json!([iphone('a'), android_device("phone")])).await.refused(400, "M_BAD_JSON");
    world.notify_message("$three", json!([iphone('a')])).await.expect(200);
    world.notify_message("$four", json!([iphone('a')])).await.refused(429, "M_LIMIT_EXCEEDED");
    world.server.wait_for_log("a change of this section needs a restart", DEADLINE).await;
    let logs = world.server.logs();
    let hints: Vec<&str> =
        logs.lines().filter(|line| line.contains("a change of this section needs a restart")).collect();
    assert!(hints.len() == 1 && hints[0].contains("[http]"), "{logs}");
    assert_eq!(world.apple.connections(), 1);
}
