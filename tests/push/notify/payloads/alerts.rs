//! The key of the app's translations for an event on Apple's devices.
//!
//! Invariant: every row of the table is tried without and with the name of a room.

use harness::world::push::{World, ios_app, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.ios";

/// The event, and the `loc-key` with its `loc-args` without and with a room's name.
type Row = (Value, (&'static str, &'static [&'static str]), (&'static str, &'static [&'static str]));

fn text(msgtype: &str) -> Value {
    json!({ "content": { "msgtype": msgtype, "body": "Lunch?" } })
}

fn call(sdp: &Value) -> Value {
    json!({ "type": "m.call.invite", "content": { "call_id": "c", "offer": { "type": "offer", "sdp": sdp } } })
}

fn rows() -> Vec<Row> {
    let said = ("MSG_FROM_USER_WITH_CONTENT", ["Wilma", "Lunch?"].as_slice());
    let said_in = ("MSG_FROM_USER_IN_ROOM_WITH_CONTENT", ["Wilma", "Quarry", "Lunch?"].as_slice());
    let something = ("MSG_FROM_USER", ["Wilma"].as_slice());
    let something_in = ("MSG_FROM_USER_IN_ROOM", ["Wilma", "Quarry"].as_slice());
    let image = ("IMAGE_FROM_USER", ["Wilma", "Lunch?"].as_slice());
    let image_in = ("IMAGE_FROM_USER_IN_ROOM", ["Wilma", "Lunch?", "Quarry"].as_slice());
    let action = ("ACTION_FROM_USER", ["Wilma", "Lunch?"].as_slice());
    let action_in = ("ACTION_FROM_USER_IN_ROOM", ["Quarry", "Wilma", "Lunch?"].as_slice());
    let video = ("VIDEO_CALL_FROM_USER", ["Wilma"].as_slice());
    let voice = ("VOICE_CALL_FROM_USER", ["Wilma"].as_slice());
    let invite = ("USER_INVITE_TO_CHAT", ["Wilma"].as_slice());
    let invite_in = ("USER_INVITE_TO_NAMED_ROOM", ["Wilma", "Quarry"].as_slice());
    vec![
        (text("m.text"), said, said_in),
        (text("m.notice"), said, said_in),
        (text("m.file"), said, said_in),
        (text("m.location"), said, said_in),
        (text("org.example.poll"), said, said_in),
        (text("m.image"), image, image_in),
        (text("m.emote"), action, action_in),
        (with(text("m.text"), json!({ "type": "m.room.encrypted" })), said, said_in),
        (with(text("m.emote"), json!({ "type": "m.room.encrypted" })), action, action_in),
        (json!({ "type": "m.room.encrypted", "content": { "algorithm": "m.megolm" } }), something, something_in),
        (json!({ "type": "m.room.encrypted", "content": null }), something, something_in),
        (json!({ "content": {} }), something, something_in),
        (json!({ "content": { "msgtype": "m.text", "body": "" } }), something, something_in),
        (json!({ "content": { "msgtype": "", "body": "Lunch?" } }), something, something_in),
        (json!({ "content": { "body": "Lunch?" } }), something, something_in),
        (json!({ "content": { "msgtype": "m.image" } }), something, something_in),
        (json!({ "content": { "msgtype": "m.text", "body": { "text": "Lunch?" } } }), something, something_in),
        (json!({ "content": { "msgtype": ["m.text"], "body": "Lunch?" } }), something, something_in),
        (json!({ "content": "Lunch?" }), something, something_in),
        (call(&json!("v=0\r\nm=audio 9 RTP\r\nm=video 9 RTP\r\n")), video, video),
        (call(&json!("v=0\r\nm=audio 9 RTP\r\n")), voice, voice),
        (call(&json!(["m=video"])), voice, voice),
        (json!({ "type": "m.call.invite", "content": null }), voice, voice),
        (json!({ "type": "m.room.member", "membership": "invite", "user_is_target": true }), invite, invite_in),
        (
            json!({ "type": "m.room.member", "user_is_target": true, "content": { "membership": "invite" } }),
            invite,
            invite_in,
        ),
        (json!({ "type": "m.reaction" }), something, something),
        (json!({ "type": "m.rtc.notification" }), something, something),
        (json!({ "type": "org.example.whatever" }), something, something),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_event_has_its_own_translation_key() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    for (changes, alone, in_room) in rows() {
        let event = with(message(), changes);
        for (event, (key, args)) in [(without(event.clone(), &["room_name"]), alone), (event, in_room)] {
            let device = gateway.iphone(APP);
            gateway.deliver(event.clone(), &device).await;
            let expected = json!({
                "aps": { "alert": { "loc-key": key, "loc-args": args } },
                "room_id": "!quarry:hs.example", "event_id": "$slate",
            });
            assert_eq!(gateway.push(&device).json(), expected, "{event}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_is_no_invitation_of_the_user_moves_the_badge_at_most() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    for changes in [
        json!({ "membership": "invite", "user_is_target": false }),
        json!({ "membership": "invite", "user_is_target": "true" }),
        json!({ "membership": "invite" }),
        json!({ "membership": "join", "user_is_target": true }),
        json!({ "membership": "join", "user_is_target": true, "content": { "membership": "invite" } }),
        json!({ "user_is_target": true }),
    ] {
        let event = with(with(message(), json!({ "type": "m.room.member" })), changes);
        gateway.drops(event.clone(), &gateway.iphone(APP)).await;
        let mut device = gateway.iphone(APP);
        device["data"] = json!({ "default_payload": { "aps": { "alert": "something" }, "cs": "x" } });
        gateway.deliver(with(event, json!({ "counts": { "unread": 2, "missed_calls": 1 } })), &device).await;
        assert_eq!(gateway.push(&device).json(), json!({ "aps": { "badge": 3 } }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_name_that_is_a_text_is_shown_of_sender_and_room() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let alias = "#quarry:hs.example";
    for (changes, args) in [
        (json!({}), json!(["Wilma", "Quarry", "Lunch?"])),
        (json!({ "sender_display_name": "" }), json!(["@wilma:hs.example", "Quarry", "Lunch?"])),
        (json!({ "sender_display_name": null }), json!(["@wilma:hs.example", "Quarry", "Lunch?"])),
        (json!({ "sender_display_name": ["Wilma"] }), json!(["@wilma:hs.example", "Quarry", "Lunch?"])),
        (json!({ "sender_display_name": "", "sender": "" }), json!([" ", "Quarry", "Lunch?"])),
        (json!({ "sender_display_name": 1, "sender": 2 }), json!([" ", "Quarry", "Lunch?"])),
        (json!({ "room_alias": alias }), json!(["Wilma", "Quarry", "Lunch?"])),
        (json!({ "room_alias": alias, "room_name": "" }), json!(["Wilma", alias, "Lunch?"])),
        (json!({ "room_alias": alias, "room_name": 5 }), json!(["Wilma", alias, "Lunch?"])),
        (json!({ "room_alias": false, "room_name": {} }), json!(["Wilma", "Lunch?"])),
        (
            json!({ "sender_display_name": "ĝ".repeat(1025), "room_name": "r".repeat(1100) }),
            json!(["ĝ".repeat(1024), "r".repeat(1024), "Lunch?"]),
        ),
    ] {
        let device = gateway.iphone(APP);
        gateway.deliver(with(message(), changes.clone()), &device).await;
        assert_eq!(gateway.push(&device).json()["aps"]["alert"]["loc-args"], args, "{changes}");
    }
}
