//! Which server names a registration takes: those of the grammar, and of them those that the operator lets in.
//!
//! Invariant: a name that is not taken costs no question to a name server and no connection.

use harness::dns::Dns;
use harness::homeserver::Homeserver;
use serde_json::{Value, json};

use super::{Outside, registered};
use harness::world::identity::v2;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_name_is_refused_before_any_network_use() {
    let world = Outside::open().await;
    let server = world.usual_homeserver("hs.test").await;
    let long = ["a".repeat(64), "a".repeat(256), format!("{}.test", "a.".repeat(126))];
    let asks = async |name: Value| {
        let body = json!({ "access_token": "t", "matrix_server_name": name });
        world.api.post(&v2("/account/register"), body).send().await
    };
    let words = "hs.test# hs.test/x hs.test?x u@hs.test u:p@hs.test 10.0.0.5:443/x?y# hs.test: hs.test:0 hs.test:-1 \
                 hs.test:a hs.test:08448 hs.test:65536 hs.test:8448:8448 https://hs.test //hs.test hs..test .hs.test \
                 hs.test. -hs.test hs-.test hs_.test %68s.test hß.test hs。test ::1 [::1 [:::] [::1]x [::1]: [] \
                 a:b:c:: [::1%25lo] [::1%lo] [127.0.0.1] 127.0.0.1. ①②⑦.0.0.1 hs.test\\";
    let blanks = ["", " ", "hs.test\n", "\nhs.test", "hs.test\r\nX: y", " hs.test", "hs.test ", "hs.test: 8448"];
    let odd = ["hs\0.test", "hs.test\t", "hs.test\u{a0}"];
    for name in words.split(' ').chain(blanks).chain(odd).chain(long.iter().map(String::as_str)) {
        asks(json!(name)).await.refused(400, "M_INVALID_PARAM");
    }
    for value in [json!(5), json!(1.5), json!(true), json!(["hs.test"]), json!({ "hs.test": 1 })] {
        asks(value).await.refused(400, "M_INVALID_PARAM");
    }
    asks(Value::Null).await.refused(400, "M_MISSING_PARAMS");
    nothing_was_asked(&world.dns, &server);
    registered(&world.register(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_may_not_register_are_refused_before_any_network_use() {
    let rules = "[registration]\nallow_servers = [\"*.good.test\", \"one.test\"]\n\
                 deny_servers = [\"bad.*\", \"*.bad.good.test\"]";
    let world = Outside::with("", rules).await;
    let stranger = world.usual_homeserver("stranger.test").await;
    let strangers = "stranger.test stranger.test:8448 STRANGER.test good.test one.test.stranger.test xone.test \
                     bad.good.test BAD.Good.Test x.bad.good.test 127.0.0.1";
    for name in strangers.split(' ') {
        world.dns.set_addresses(name, &[stranger.address().ip()]);
        world.register_at(name).await.refused(403, "M_UNAUTHORIZED");
    }
    nothing_was_asked(&world.dns, &stranger);
    for (name, other_case) in [("a.good.test", "a.GOOD.test"), ("one.test", "ONE.test")] {
        let friend = world.usual_homeserver(name).await;
        registered(&world.register(&friend).await);
        registered(&world.register_as(other_case, &friend).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_allow_list_all_but_the_denied_may_register() {
    let world = Outside::with("", "[registration]\ndeny_servers = [\"*.bad.test\"]").await;
    world.register_at("a.bad.test").await.refused(403, "M_UNAUTHORIZED");
    let friend = world.usual_homeserver("bad.test").await;
    registered(&world.register(&friend).await);
}

#[track_caller]
fn nothing_was_asked(dns: &Dns, server: &Homeserver) {
    assert_eq!((dns.all_questions(), server.connections()), (Vec::new(), 0));
}
