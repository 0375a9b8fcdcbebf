//! From pushkeys to the devices of APNs and FCM; an invalid pushkey is rejected.
//!
//! Invariant: a rejected pushkey is returned unchanged, and nothing is sent for it.

use harness::world::push::{World, android_app, ids, ios_app, with};
use serde_json::{Value, json};

/// Many pushkeys are wrong here on purpose.
const TRUSTING: &str = "[rejection_breaker]\nenabled = false\n";

/// 32 bytes in every encoding that apps use.
const HEX: &str = "fb00ff3e1c2d4b5a69788796a5b4c3d2e1f00112233445566778899aabbccdde";
const BASE64: &str = "+wD/PhwtS1ppeIeWpbTD0uHwARIjNEVWZ3iJmqu8zd4=";
const BASE64URL: &str = "-wD_PhwtS1ppeIeWpbTD0uHwARIjNEVWZ3iJmqu8zd4";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_token_is_read_in_every_spelling_and_asked_for_in_one() {
    let apps = [
        ios_app("auto", ""),
        ios_app("hex", "token_encoding = \"hex\""),
        ios_app("base64", "token_encoding = \"base64\""),
    ];
    let gateway = World::serving("", TRUSTING, &apps).await;
    let upper = HEX.to_uppercase();
    let unpadded = BASE64.trim_end_matches('=');
    let mut sent = 0;
    for (app, pushkey, device) in [
        ("auto", HEX, Some(HEX)),
        ("auto", &upper, Some(HEX)),
        ("auto", BASE64, Some(HEX)),
        ("auto", unpadded, Some(HEX)),
        ("auto", BASE64URL, Some(HEX)),
        ("hex", HEX, Some(HEX)),
        ("hex", BASE64, None),
        ("base64", BASE64, Some(HEX)),
        ("base64", BASE64URL, Some(HEX)),
    ] {
        let event = json!({ "event_id": format!("${app}{pushkey}") });
        let answer = gateway.notify(&with(event, json!({ "devices": [{ "app_id": app, "pushkey": pushkey }] }))).await;
        let pushes = gateway.apple.requests();
        match device {
            Some(device) => {
                sent += 1;
                assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{app} {pushkey}");
                assert_eq!(pushes.last().map(|push| push.target.clone()), Some(format!("/3/device/{device}")));
            }
            None => assert_eq!(answer.expect(200), json!({ "rejected": [pushkey] })),
        }
        assert_eq!(pushes.len(), sent, "{app} {pushkey}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_device_token_is_rejected_and_nothing_is_sent() {
    let gateway = World::serving("", TRUSTING, &[ios_app("org.example.ios", "")]).await;
    let million = "a".repeat(500_000);
    let too_long = "ab".repeat(101);
    let bytes_101 = "QUJD".repeat(33) + "QUI=";
    for pushkey in [
        "",
        " ",
        "abc",
        "é",
        "../../x?y=1",
        "a\r\napns-topic: evil",
        "/3/device/",
        "fcm-registration-token:APA91b",
        &HEX[32..],
        &format!("{HEX}a"),
        &format!("{HEX} "),
        &format!("\0{HEX}"),
        &format!("{BASE64}="),
        &too_long,
        &bytes_101,
        &million,
    ] {
        let device = json!({ "app_id": "org.example.ios", "pushkey": pushkey });
        let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
        assert_eq!(answer.expect(200), json!({ "rejected": [pushkey] }));
        assert!(gateway.apple.requests().is_empty(), "{pushkey:.100}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fcm_receives_an_installation_or_a_registration_by_the_form_of_the_pushkey() {
    let apps =
        [android_app("auto", ""), android_app("token", "target = \"token\""), android_app("fid", "target = \"fid\"")];
    let gateway = World::serving("", TRUSTING, &apps).await;
    for (app, pushkey, target) in [
        ("auto", "cYzZ0_-9AbCdEfGhIjKlMn", "fid"),
        ("auto", "fYzZ0_-9AbCdEfGhIjKlMn", "fid"),
        ("auto", "gYzZ0_-9AbCdEfGhIjKlMn", "token"),
        ("auto", "CYzZ0_-9AbCdEfGhIjKlMn", "token"),
        ("auto", "cYzZ0_-9AbCdEfGhIjKlM", "token"),
        ("auto", "cYzZ0_-9AbCdEfGhIjKlMno", "token"),
        ("auto", "cYzZ0:-9AbCdEfGhIjKlMn", "token"),
        ("auto", "cYzZ0_-9AbCdEfGhIjKlMn:APA91bHun4", "token"),
        ("token", "dYzZ0_-9AbCdEfGhIjKlMn", "token"),
        ("fid", "registration", "fid"),
    ] {
        let device = json!({ "app_id": app, "pushkey": pushkey });
        gateway.deliver(ids(), &device).await;
        let message = gateway.message(&device);
        assert_eq!(message[target], pushkey, "{message}");
        let targets = ["token", "fid", "topic", "condition"];
        assert_eq!(targets.iter().filter(|name| message.get(**name).is_some()).count(), 1, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_pushkeys_and_unknown_apps_are_rejected_unchanged() {
    let apps = [android_app("org.example.android", ""), android_app("org.example.*", "")];
    let gateway = World::serving("", TRUSTING, &apps).await;
    let (fits, too_long) = ("k".repeat(1024), "k".repeat(2049));
    let known = "org.example.android";
    let devices: Vec<Value> = [
        (known, fits.as_str()),
        (known, &too_long),
        (known, ""),
        ("org.other", "a\n\u{1b}[31m"),
        ("org.example.\u{1f980}", "second"),
        ("Org.example.android", "capital"),
    ]
    .map(|(app_id, pushkey)| json!({ "app_id": app_id, "pushkey": pushkey }))
    .into();
    let answer = gateway.notify(&with(ids(), json!({ "devices": devices }))).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [too_long, "", "a\n\u{1b}[31m", "capital"] }));
    assert_eq!([fits.as_str(), "second"].map(|pushkey| gateway.google.messages_for(pushkey).len()), [1, 1]);
    assert!(!gateway.server.logs().contains('\u{1b}'));
}
