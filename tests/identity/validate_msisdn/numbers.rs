//! What is a number, what gets a message, and which answer says which.

use harness::api::Answer;
use serde_json::{Value, json};

use super::{ALICE, ALLOWED, ask, log_file, texts, wish, world};
use harness::world::identity::{DEADLINE, World, v2};

async fn asked(world: &World, token: &str, number: &str, country: &str) -> Answer {
    ask(world, token, wish(number, country, "s", 1)).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_of_the_operator_no_message_is_sent() {
    let world = World::start().await;
    let alice = world.register(ALICE).await;
    for (number, country) in [("07700900001", "GB"), ("+18005552067", "US"), ("+33612345678", "FR")] {
        asked(&world, &alice, number, country).await.refused(400, "M_DESTINATION_REJECTED");
    }
    assert!(!log_file(&world).exists());
    world.server.wait_for_log("SMS: disabled, no country is allowed in [sms.rules]", DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_read_as_it_is_dialled_and_refused_for_what_it_is() {
    let limits = "[limits]\nenabled = false\n";
    let world = world(&format!("[sms]\ndefault_rule = \"allow\"\n{limits}")).await;
    let alice = world.register(ALICE).await;
    for (number, country, msisdn, intl_fmt) in [
        ("07700900001", "GB", "447700900001", "+44 7700 900001"),
        ("07700 900001", "gb", "447700900001", "+44 7700 900001"),
        ("447700900001", "GB", "447700900001", "+44 7700 900001"),
        ("+44 (0)7700 900001", "GB", "447700900001", "+44 7700 900001"),
        ("+447700900001", "US", "447700900001", "+44 7700 900001"),
        ("8005552067", "US", "18005552067", "+1 800-555-2067"),
        ("020 7946 0018", "GB", "442079460018", "+44 20 7946 0018"),
        ("0041 44 668 18 00", "CH", "41446681800", "+41 44 668 18 00"),
        ("+39 02 3661 8300", "IT", "390236618300", "+39 02 3661 8300"),
    ] {
        let answer = asked(&world, &alice, number, country).await.expect(200);
        assert_eq!((&answer["msisdn"], &answer["intl_fmt"]), (&json!(msisdn), &json!(intl_fmt)), "{number} {country}");
        assert_eq!(answer["success"], true);
    }
    let sent = texts(&world).len();
    let zeros = "0".repeat(40);
    let long = "1".repeat(60_000);
    for number in
        ["12", "999", "112", "abc", "+", "+44", "", " ", &zeros, &long, "07700900001 ext 5", "07700900001\n", "\u{0}"]
    {
        let answer = asked(&world, &alice, number, "GB").await;
        answer.refused(400, "M_INVALID_ADDRESS");
    }
    for country in ["ZZ", "", "001", "GBR", "\u{0}", "ǅ"] {
        asked(&world, &alice, "07700900001", country).await.refused(400, "M_INVALID_ADDRESS");
    }
    for (number, country) in [("+1 900 555 0123", "US"), ("0871 234 5678", "GB"), ("+44 871 234 5678", "US")] {
        asked(&world, &alice, number, country).await.refused(400, "M_DESTINATION_REJECTED");
    }
    assert_eq!(texts(&world).len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_name_countries_calling_codes_and_first_digits() {
    let rules = "[sms]\nrules = { 1 = \"reject\", US = \"allow\", 44 = \"allow\", 447700 = \"reject\" }\n\
                 [limits]\nenabled = false\n";
    let world = world(rules).await;
    let alice = world.register(ALICE).await;
    for (number, code) in [
        ("+12125550123", 200),
        // Jamaica and Canada share the calling code of the United States.
        ("+18769220123", 400),
        ("+14165550123", 400),
        ("+447400123456", 200),
        ("+447700900001", 400),
        ("+33612345678", 400),
    ] {
        let answer = asked(&world, &alice, number, "US").await;
        assert_eq!(answer.code(), code, "{number} {answer}");
        if code == 400 {
            answer.refused(400, "M_DESTINATION_REJECTED");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_fields_are_named_and_wrong_ones_refused_before_anything_is_sent() {
    let world = world(ALLOWED).await;
    let alice = world.register(ALICE).await;
    let refused = ask(&world, &alice, json!({})).send().await.refused(400, "M_MISSING_PARAMS");
    for field in ["client_secret", "country", "phone_number", "send_attempt"] {
        assert!(refused["error"].as_str().is_some_and(|text| text.contains(field)), "{refused}");
    }
    let good = wish("07700900001", "GB", "s", 1);
    for (field, wrong) in [
        ("phone_number", json!(447_700_900_001_u64)),
        ("phone_number", json!(["07700900001"])),
        ("country", json!(44)),
        ("client_secret", json!("é")),
        ("send_attempt", json!(-1)),
        ("next_link", json!("javascript:alert(1)")),
    ] {
        let mut body = good.clone();
        body[field] = wrong;
        ask(&world, &alice, body).send().await.refused(400, "M_INVALID_PARAM");
    }
    // Without a token nothing is said about the body.
    let call = world.api.post(&v2("/validate/msisdn/requestToken"), Value::Null);
    call.send().await.refused(401, "M_UNAUTHORIZED");
    assert!(texts(&world).is_empty());
    // A form does as well.
    let form = [("client_secret", "s"), ("phone_number", "07700900001"), ("country", "GB"), ("send_attempt", "1")];
    let call = world.api.post(&v2("/validate/msisdn/requestToken"), json!({})).bearer(&alice).form(&form);
    call.send().await.expect(200);
    assert_eq!(texts(&world).len(), 1);
}
