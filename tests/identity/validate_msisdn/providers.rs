//! Every provider over real HTTP, against a fake that checks what the real one checks; who is asked next, and that no
//! failure makes two messages of one.

use futures_util::future::join_all;
use harness::binary;
use harness::certificates::Authority;
use harness::process::{new_folder, run};
use harness::sms::{Ending, Fault, Script, SmsGateway, TWILIO_API_KEY_SECRET, TWILIO_API_KEY_SID, Vendor};
use harness::wait::wait_for;
use serde_json::{Value, json};

use super::{ALICE, ask, submit, texts, wish, world};
use harness::world::identity::{DEADLINE, Session, Settings, World};

const VENDORS: [(Vendor, &str); 6] = [
    (Vendor::Twilio, "twilio"),
    (Vendor::Vonage, "vonage"),
    (Vendor::OpenMarket, "openmarket"),
    (Vendor::Infobip, "infobip"),
    (Vendor::Sns, "sns"),
    (Vendor::Generic, "http"),
];

const NUMBER: &str = "447700900001";

/// Tables for these providers in this order, the log last, and patience for a second.
fn tables(order: &str, more: &str, gateways: &[&SmsGateway]) -> String {
    let gateways: String = gateways.iter().map(|gateway| gateway.config()).collect();
    format!(
        "[limits]\nenabled = false\n[sms]\nprovider = {order}\nrules.44 = \"allow\"\ntimeout = \"1s\"\n{more}\n{gateways}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_takes_a_message_in_either_alphabet_and_from_every_kind_of_sender() {
    let story = |vendor: Vendor, name: &'static str, template: &'static str, from: &'static str| async move {
        let gateway = SmsGateway::start(vendor).await;
        let more = format!("originators.44 = {from:?}\nbody_template = {template:?}");
        let world = world(&tables(&format!("{name:?}"), &more, &[&gateway])).await;
        let alice = world.register(ALICE).await;
        let answer = ask(&world, &alice, wish("07700 900001", "GB", "s", 1)).send().await.expect(200);
        // It has the message before the answer came.
        let [sms] = gateway.accepted().try_into().expect("one message");
        let (_, sender) = from.split_once(':').expect("a kind");
        assert_eq!((sms.to.as_str(), sms.from.trim_start_matches('+')), (NUMBER, sender), "{name}");
        assert_eq!(sms.text, template.replace("{token}", &sms.code()), "{name}");
        assert_eq!(gateway.complaints(), Vec::<String>::new(), "{name}");
        let sid = answer["sid"].as_str().expect("a sid").to_owned();
        let session = Session { sid, client_secret: "s".into(), token: sms.code() };
        submit(&world, &alice, &session, &session.token).await.expect(200);
    };
    for (vendor, name) in VENDORS {
        join_all([
            story(vendor, name, "{token} is your code: 100% [free] + \"quoted\" & <b> für 0 €", "alpha:Matrix"),
            story(vendor, name, "Код {token} — для \"Matrix\" & Co. \\ <b> +", "long:447000000000"),
            story(vendor, name, "{token}", "short:12345"),
        ])
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_each_kind_lead_on_only_if_surely_nothing_was_sent() {
    let story = |vendor: Vendor, name: &'static str, fault: Fault, leads_on: bool| async move {
        let gateway = SmsGateway::start(vendor).await;
        gateway.fail(fault.clone());
        let tables = tables(&format!("[{name:?}, \"log\"]"), "", &[&gateway]);
        let one_process = Some("the order of providers in a process");
        let world = World::with(Settings { tables: &tables, one_process, ..Settings::default() }).await;
        let alice = world.register(ALICE).await;
        let what = format!("{name} {fault:?}");
        let answer = ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await;
        assert_eq!(answer.code(), if leads_on { 200 } else { 400 }, "{what}: {answer}");
        if !leads_on {
            answer.refused(400, "M_SEND_ERROR");
        }
        assert_eq!(texts(&world).len(), usize::from(leads_on), "{what}");
        assert!(gateway.requests() <= 1, "{what}: {} requests", gateway.requests());
        assert_eq!(gateway.complaints(), Vec::<String>::new(), "{what}");
        // A new request causes a new message; the failing provider is not the first any more.
        if !leads_on {
            ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await.expect(200);
            assert_eq!(texts(&world).len(), 1, "{what}");
            assert!(gateway.requests() <= 1, "{what}: {} requests", gateway.requests());
        }
    };
    for (vendor, name) in VENDORS {
        join_all([
            story(vendor, name, Fault::Status(400), true),
            story(vendor, name, Fault::Status(401), true),
            story(vendor, name, Fault::RetryAfter(3600), true),
            story(vendor, name, Fault::Status(503), false),
            story(vendor, name, Fault::Redirect, false),
            story(vendor, name, Fault::Status(500), false),
            story(vendor, name, Fault::Status(504), false),
        ])
        .await;
        join_all([
            story(vendor, name, Fault::Hang, false),
            story(vendor, name, Fault::AcceptAndHang, false),
            story(vendor, name, Fault::AcceptAndReset, false),
            story(vendor, name, Fault::Reset, false),
            story(vendor, name, Fault::TruncatedBody, false),
        ])
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_unread_makes_no_second_message_either() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    gateway.fail(Fault::ResetBeforeReading);
    let world = world(&tables("[\"twilio\", \"log\"]", "", &[&gateway])).await;
    let alice = world.register(ALICE).await;
    let answer = ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await;
    // Whether anything was written before the reset arrived is a matter of chance; what is said fits what was done.
    match answer.code() {
        200 => assert_eq!(texts(&world).len(), 1),
        _ => assert!(answer.refused(400, "M_SEND_ERROR").is_object() && texts(&world).is_empty()),
    }
    assert_eq!(gateway.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_own_errors_mean_what_it_says() {
    let story = |vendor: Vendor, name: &'static str, error: &'static str, errcode: Option<&'static str>| async move {
        let gateway = SmsGateway::start(vendor).await;
        gateway.fail(Fault::Error(error));
        let world = world(&tables(&format!("[{name:?}, \"log\"]"), "", &[&gateway])).await;
        let alice = world.register(ALICE).await;
        let answer = ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await;
        match errcode {
            Some(errcode) => drop(answer.refused(400, errcode)),
            None => drop(answer.expect(200)),
        }
        assert_eq!((texts(&world).len(), gateway.requests()), (usize::from(errcode.is_none()), 1), "{name} {error}");
        // Its number, or its lack of one, is in the log, and the recipient's is not.
        assert!(!world.server.logs().contains(NUMBER), "{}", world.server.logs());
    };
    let (rejected, failed) = (Some("M_DESTINATION_REJECTED"), Some("M_SEND_ERROR"));
    join_all([
        story(Vendor::Twilio, "twilio", "21408", None),
        story(Vendor::Twilio, "twilio", "21612", None),
        story(Vendor::Twilio, "twilio", "21610", rejected),
        story(Vendor::Twilio, "twilio", "21614", rejected),
        story(Vendor::Vonage, "vonage", "1", None),
        story(Vendor::Vonage, "vonage", "9", None),
        story(Vendor::Vonage, "vonage", "7", rejected),
        story(Vendor::Vonage, "vonage", "5", failed),
    ])
    .await;
    join_all([
        story(Vendor::OpenMarket, "openmarket", "345", None),
        story(Vendor::OpenMarket, "openmarket", "1000", failed),
        story(Vendor::Infobip, "infobip", "REJECTED_NOT_ENOUGH_CREDITS", None),
        story(Vendor::Infobip, "infobip", "REJECTED_INVALID_DESTINATION", rejected),
        story(Vendor::Sns, "sns", "Throttling", None),
        story(Vendor::Sns, "sns", "InvalidParameter", None),
        story(Vendor::Sns, "sns", "OptedOut", rejected),
        story(Vendor::Sns, "sns", "InternalError", failed),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_asked_in_the_operators_order_which_may_differ_by_country() {
    let (twilio, vonage) = (SmsGateway::start(Vendor::Twilio).await, SmsGateway::start(Vendor::Vonage).await);
    let more = "rules.US = \"allow\"\nroutes.US = [\"vonage\", \"twilio\"]";
    let world = world(&tables("[\"twilio\", \"vonage\"]", more, &[&twilio, &vonage])).await;
    let alice = world.register(ALICE).await;
    ask(&world, &alice, wish("07700900001", "GB", "s", 1)).send().await.expect(200);
    ask(&world, &alice, wish("2125550123", "US", "s", 1)).send().await.expect(200);
    assert_eq!((twilio.accepted_for(NUMBER).len(), vonage.accepted_for("12125550123").len()), (1, 1));
    // Refused by the first, taken by the second.
    twilio.fail(Fault::Error("21408"));
    ask(&world, &alice, wish("07700900002", "GB", "s", 1)).send().await.expect(200);
    assert_eq!((twilio.requests(), vonage.accepted_for("447700900002").len()), (2, 1));
    // Refused by both: the response is an error, and the same request is tried again.
    vonage.fail(Fault::Error("9"));
    ask(&world, &alice, wish("07700900003", "GB", "s", 1)).send().await.refused(400, "M_SEND_ERROR");
    assert_eq!((twilio.requests(), vonage.requests()), (3, 3));
    vonage.heal();
    ask(&world, &alice, wish("07700900003", "GB", "s", 1)).send().await.expect(200);
    assert_eq!(vonage.accepted_for("447700900003").len(), 1);
    assert!(twilio.complaints().is_empty() && vonage.complaints().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_is_not_counted_against_the_day_and_what_may_have_been_is() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    let world = world(&tables("\"twilio\"", "max_per_day = 2", &[&gateway])).await;
    let alice = world.register(ALICE).await;
    let asked = async |attempt: u32| ask(&world, &alice, wish(NUMBER, "GB", "s", attempt)).send().await;
    for _ in 0..5 {
        gateway.fail_next(1, Fault::Status(401));
        asked(1).await.refused(400, "M_SEND_ERROR");
    }
    asked(1).await.expect(200);
    gateway.fail_next(1, Fault::Hang);
    asked(2).await.refused(400, "M_SEND_ERROR");
    let refused = asked(3).await.refused(400, "M_SEND_ERROR");
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("today")), "{refused}");
    assert_eq!((gateway.accepted().len(), gateway.requests()), (1, 7));
    // One that was answered before needs none of the day.
    asked(1).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_be_made_or_trusted_leads_on() {
    let stranger = Authority::new("another authority");
    let untrusted = SmsGateway::start_tls(Vendor::Vonage, &stranger).await;
    let gone = SmsGateway::start(Vendor::Infobip).await;
    let gone_config = gone.config();
    drop(gone);
    let folder = new_folder();
    let homeserver = harness::homeserver::Homeserver::start("hs.example").await;
    let mail = harness::mail::Sink::start_with(harness::mail::Offer::default(), homeserver.authority()).await;
    let twilio = SmsGateway::start_tls(Vendor::Twilio, homeserver.authority()).await;
    let unresolved = "[sms.openmarket]\nurl = \"https://sms.invalid/sms/v4/mt\"\nusername = \"u\"\npassword = \"p\"\n";
    let order = "[\"vonage\", \"infobip\", \"openmarket\", \"twilio\"]";
    let tables = format!("{}{gone_config}{unresolved}", tables(order, "", &[&untrusted, &twilio]));
    let settings = Settings { tables: &tables, ..Settings::default() };
    let config = settings.toml(&homeserver.config(folder.path()), &mail.config());
    let server = harness::process::Server::start_in(folder, binary::identity(), &config, &[]).await;
    let api = harness::api::Api::new(&server.url());
    let world = World { server, homeserver, mail, api };
    let alice = world.register(ALICE).await;
    ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await.expect(200);
    let sms = twilio.wait_for(NUMBER, 1, DEADLINE).await;
    assert_eq!((sms.from.as_str(), untrusted.requests(), twilio.requests()), ("Matrix", 0, 1));
    for why in ["TLS", "connection failed", "name resolution failed"] {
        world.server.wait_for_log(why, DEADLINE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_operators_may_carry_messages() {
    let folder = new_folder();
    for (name, ending, answer) in [
        ("good", Ending::Code(0), 200),
        ("bad", Ending::Code(1), 400),
        ("refusing", Ending::Code(67), 400),
        ("endless", Ending::Never, 400),
    ] {
        let script = Script::write(folder.path(), name, ending);
        let exec = format!("exec.command = {:?}", script.path().display().to_string());
        let world = world(&tables("\"exec\"", &exec, &[])).await;
        let alice = world.register(ALICE).await;
        let said = ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await;
        assert_eq!(said.code(), answer, "{name}: {said}");
        let inputs = script.inputs();
        assert!(!inputs.is_empty(), "{name} was not run");
        let got: Value = serde_json::from_str(&inputs[0]).expect("JSON");
        let token = got["token"].as_str().expect("a token").to_owned();
        let expected = json!({
            "to": NUMBER,
            "from": { "type": "alpha", "address": "Matrix" },
            "text": format!("{token} is your Matrix code"),
            "token": token,
        });
        assert_eq!(got, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_process_was_killed_is_reported_as_unclear_and_not_sent_again() {
    let folder = new_folder();
    let script = Script::write(folder.path(), "endless", Ending::Never);
    let more = format!("exec.command = {:?}", script.path().display().to_string());
    let mut world = world(&tables("\"exec\"", &more, &[]).replace("timeout = \"1s\"", "timeout = \"3s\"")).await;
    let alice = world.register(ALICE).await;
    let call = ask(&world, &alice, wish(NUMBER, "GB", "s", 1));
    let interrupted = tokio::spawn(call.try_send());
    wait_for("the program", DEADLINE, async || (!script.inputs().is_empty()).then_some(())).await;
    world.restart().await;
    assert!(interrupted.await.expect("a task").is_err());
    // While the lease lasts, the message is being sent; then it is unknown whether it was.
    let answer = wait_for("the end of the lease", 3 * DEADLINE, async || {
        let answer = ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await;
        (answer.code() != 200).then_some(answer)
    });
    answer.await.refused(400, "M_SEND_ERROR");
    assert_eq!(script.inputs().len(), 1);
    // Another request sends another message.
    ask(&world, &alice, wish(NUMBER, "GB", "s", 1)).send().await.refused(400, "M_SEND_ERROR");
    assert_eq!(script.inputs().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_try_the_way_without_the_server() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    let folder = new_folder();
    let key = format!("twilio.api_key_sid = {TWILIO_API_KEY_SID:?}\n");
    let config = format!("[server]\ndata_dir = \"data\"\n{}", tables("\"twilio\"", "", &[&gateway]));
    let config = config.replace("[sms.twilio]\n", &format!("[sms.twilio]\n{}", key.trim_start_matches("twilio.")));
    let with_key: Vec<String> = config
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("auth_token", _)) => format!("auth_token = {TWILIO_API_KEY_SECRET:?}"),
            _ => line.to_owned(),
        })
        .collect();
    std::fs::write(folder.path().join("config.toml"), with_key.join("\n")).expect("the folder takes files");
    let tried = async |arguments: &[&str]| {
        let output = run(binary::identity(), folder.path(), arguments, &[]).await;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (good, said) = tried(&["test-sms", "--to", "07400 123456", "--country", "GB"]).await;
    assert!(
        good && said.contains("+44 7400 123456 (GB, calling code 44)") && said.contains("accepted by twilio"),
        "{said}"
    );
    assert_eq!((gateway.accepted_for("447400123456").len(), gateway.complaints()), (1, Vec::new()));
    let (good, said) = tried(&["test-sms", "--to", "+33612345678"]).await;
    assert!(!good && said.contains("[sms.rules]"), "{said}");
    let (good, said) = tried(&["test-sms", "--to", "07400123456"]).await;
    assert!(!good && said.contains("--country"), "{said}");
    gateway.fail(Fault::Error("21408"));
    let (good, said) = tried(&["test-sms", "--to", "+447400123456"]).await;
    assert!(!good && said.contains("21408") && said.contains("no provider accepted the message"), "{said}");
}
