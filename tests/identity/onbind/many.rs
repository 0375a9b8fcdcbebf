//! Many invitations, and homeservers that do not respond.

use harness::homeserver::Fault;
use harness::wait::wait_until;

use super::{BOB, CAROL, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::{DEADLINE, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn many_invitations_of_one_address_come_in_several_requests_each_once() {
    let scene = Scene::start("").await;
    let mut tokens = Vec::new();
    for number in 0..60 {
        tokens.push(scene.invite(&format!("!{number}:hs.example"), EMAIL).await);
    }
    scene.bind(BOB, EMAIL).await;
    wait_until("all joins", DEADLINE, || scene.joins().len() == 60).await;
    let requests = scene.world.homeserver.requests_to(ONBIND);
    let sent: Vec<_> = requests.iter().map(|request| tokens_in(&request.json())).collect();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [50, 10]);
    assert_eq!(sent.concat(), tokens);
    scene.wait_for_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_hangs_does_not_delay_the_onbinds_of_another() {
    let settings = Settings { federation: "timeout = \"10m\"", ..Settings::default() };
    let scene = Scene::with(settings).await;
    scene.other.federate_with(&scene.world.homeserver);
    scene.world.homeserver.fault(ONBIND, Fault::Silence);
    for number in 0..10 {
        let email = format!("b{number}@example.com");
        scene.invite("!r:hs.example", &email).await;
        scene.bind(BOB, &email).await;
    }
    // The number of requests that a process sends to it is limited, too.
    let requests = (4 * scene.world.server.replicas()).min(10);
    scene.wait_for_onbinds(requests).await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.bind(CAROL, EMAIL).await;
    scene.wait_for_join(&token, CAROL).await;
    scene.wait_for_onbinds(requests).await;
    assert_eq!(scene.listed().await.len(), 10);
}
