//! A forward proxy that is reached by TLS, from the configuration and from the environment.
//!
//! Invariant: the proxy's own record shows which connections passed it.

use harness::certificates::{Authority, Certificate};
use harness::proxy::Proxy;
use harness::world::identity::{Settings, World, v2};

/// A world in this environment and with these lines of `[outbound]`; `proxy` is the place of the proxy's URL.
async fn world(authority: &Authority, outbound: &str, environment: &[(&str, &str)], proxy: &Proxy) -> World {
    let url = format!("https://us%40er:hunter2@{}", proxy.address());
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), value.replace("proxy", &url))).collect();
    let outbound = outbound.replace("\"proxy\"", &format!("\"{url}\""));
    let settings =
        Settings { authority: Some(authority), outbound: &outbound, environment: &environment, ..Settings::default() };
    World::with(settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn homeservers_are_reached_through_it_by_tunnels_with_the_login() {
    let authority = Authority::new("the world's authority");
    for (outbound, environment) in [
        ("proxy = \"proxy\"", &[][..]),
        ("", &[("HTTPS_PROXY", "proxy")]),
        ("", &[("https_proxy", "proxy"), ("NO_PROXY", "other.example, .internal")]),
        // The configuration has precedence.
        ("proxy = \"proxy\"", &[("HTTPS_PROXY", "http://127.0.0.1:1")]),
    ] {
        let proxy = Proxy::start(&authority.issue(&["127.0.0.1"])).await;
        let world = world(&authority, outbound, environment, &proxy).await;
        world.register("@bob:hs.example").await;
        let what = format!("{outbound} {environment:?}: {:?}", proxy.requests());
        assert!(proxy.tunnels_to(world.homeserver.address()) > 0, "{what}");
        // Base64 of `us@er:hunter2`, in lower case as all of the record.
        let login = "proxy-authorization: basic dxnazxi6ahvudgvymg==\r\n";
        assert!(proxy.requests().iter().all(|head| head.contains(login)), "{what}");
        assert!(!world.server.logs().contains("hunter2"), "{}", world.server.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_exempts_a_host_and_a_proxy_with_a_foreign_certificate_gets_no_request() {
    let authority = Authority::new("the world's authority");
    let proxy = Proxy::start(&authority.issue(&["127.0.0.1"])).await;
    let exempt = [("HTTPS_PROXY", "proxy"), ("NO_PROXY", "hs.example,127.0.0.1")];
    let world_without = world(&authority, "", &exempt, &proxy).await;
    world_without.register("@bob:hs.example").await;
    assert_eq!(proxy.requests(), [] as [String; 0]);

    for certificate in [Certificate::self_signed(&["127.0.0.1"]), authority.issue(&["proxy.example"])] {
        let proxy = Proxy::start(&certificate).await;
        let world = world(&authority, "", &[("HTTPS_PROXY", "proxy")], &proxy).await;
        let body = world.homeserver.open_id_token("@bob:hs.example");
        world.api.post(&v2("/account/register"), body).send().await.refused(502, "M_UNKNOWN");
        assert_eq!((proxy.requests(), world.homeserver.requests().len()), (Vec::new(), 0));
    }
}
