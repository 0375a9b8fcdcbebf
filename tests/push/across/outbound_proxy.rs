//! A forward proxy that is reached by TLS, from the configuration and from the environment.
//!
//! Invariant: the proxy's own record shows which connections passed it.

use harness::apns::Apple;
use harness::binary;
use harness::certificates::{Authority, Certificate};
use harness::fcm::Google;
use harness::process::{Server, new_folder};
use harness::proxy::Proxy;
use harness::world::push::{ANDROID, DEADLINE, IOS, NOTIFY, TOPIC, android_device, ios_device, message_body, token};
use serde_json::json;

struct World {
    google: Google,
    apple: Apple,
    proxy: Proxy,
    server: Server,
}

/// A gateway and its proxy, whose URL replaces the word `proxy` in the settings.
async fn world(certificate: fn(&Authority) -> Certificate, outbound: &str, environment: &[(&str, &str)]) -> World {
    let folder = new_folder();
    let google = Google::start().await;
    let apple = Apple::start_at("127.0.0.1:0", google.authority()).await;
    let proxy = Proxy::start(&certificate(google.authority())).await;
    let url = format!("https://us%40er:hunter2@{}", proxy.address());
    let ca = google.authority().write_pem(folder.path());
    let config = format!(
        "[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n{}\n\
         [apps.{IOS:?}]\n{}retry_waits = []\n{}retry_waits = []\n",
        outbound.replace("\"proxy\"", &format!("\"{url}\"")),
        apple.config(folder.path(), TOPIC),
        google.config(ANDROID, folder.path()),
    );
    let environment: Vec<(&str, String)> =
        environment.iter().map(|(name, value)| (*name, value.replace("proxy", &url))).collect();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::start_in(folder, binary::push_gateway(), &config, &environment).await;
    World { google, apple, proxy, server }
}

fn trusted(authority: &Authority) -> Certificate {
    authority.issue(&["127.0.0.1"])
}

impl World {
    async fn push(&self) -> u16 {
        let devices = json!([ios_device(&token('a')), android_device("phone")]);
        let api = harness::api::Api::new(&self.server.url());
        api.post(NOTIFY, message_body("$event", devices)).send().await.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn push_services_are_reached_through_it_by_tunnels_with_the_login() {
    for (outbound, environment) in [
        ("proxy = \"proxy\"", &[][..]),
        ("", &[("HTTPS_PROXY", "proxy")]),
        ("", &[("ALL_PROXY", "proxy"), ("NO_PROXY", "other.example, .internal")]),
    ] {
        let world = world(trusted, outbound, environment).await;
        assert_eq!(world.push().await, 200);
        let requests = world.proxy.requests();
        let what = format!("{outbound} {environment:?}: {requests:?}");
        assert!(world.proxy.tunnels_to(world.apple.address()) > 0, "{what}");
        assert!(world.proxy.tunnels_to(world.google.address()) > 0, "{what}");
        assert_eq!((world.apple.requests().len(), world.google.messages().len()), (1, 1), "{what}");
        // Base64 of `us@er:hunter2`, in lower case as all of the record.
        let login = "proxy-authorization: basic dxnazxi6ahvudgvymg==\r\n";
        assert!(requests.iter().all(|head| head.contains(login)), "{what}");
        assert!(!world.server.logs().contains("hunter2"), "{}", world.server.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_exempts_hosts_and_a_proxy_with_a_foreign_certificate_gets_no_request() {
    let exempt = [("HTTPS_PROXY", "proxy"), ("NO_PROXY", "127.0.0.1")];
    let direct = world(trusted, "", &exempt).await;
    assert_eq!(direct.push().await, 200);
    assert_eq!(direct.proxy.requests(), [] as [String; 0]);

    for certificate in [(|_| Certificate::self_signed(&["127.0.0.1"])) as fn(&Authority) -> Certificate, |a| {
        a.issue(&["proxy.example"])
    }] {
        let world = world(certificate, "", &[("HTTPS_PROXY", "proxy")]).await;
        assert_eq!(tokio::time::timeout(DEADLINE, world.push()).await.expect("an answer"), 502);
        assert_eq!(world.proxy.requests(), [] as [String; 0]);
        assert_eq!((world.apple.connections(), world.google.connections()), (0, 0));
    }
}
