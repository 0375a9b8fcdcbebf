//! Telephone numbers: requesting a code, submitting it, and protection against toll fraud.
//!
//! Invariant: what was sent is known from outside alone: from a provider's fake, or from the file that the provider `log`
//! writes.

mod fraud;
mod numbers;
mod page;
mod providers;
mod secrets;
mod story;
mod texts;

use std::path::PathBuf;

use harness::api::{Answer, Call};
use serde_json::{Value, json};
use shared::random::Random;

use harness::world::identity::{Session, Settings, World, v2};

pub(super) const ALICE: &str = "@alice:hs.example";
pub(super) const BOB: &str = "@bob:hs.example";

/// `[sms]` with which a few countries get messages, into a file.
pub(super) const ALLOWED: &str = "[sms]\nrules = { 44 = \"allow\", 1 = \"allow\", 49 = \"allow\" }\n";

/// A message as the provider `log` wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// The digits of the number.
    pub(super) to: String,
    /// What it says.
    pub(super) text: String,
}

impl Text {
    /// The code in it.
    pub(super) fn code(&self) -> String {
        let digits: String = self.text.chars().filter(char::is_ascii_digit).collect();
        assert!((6..=8).contains(&digits.len()), "{self:?}");
        digits
    }
}

/// A world with these tables.
pub(super) async fn world(tables: &str) -> World {
    World::with(Settings { tables, ..Settings::default() }).await
}

/// The file of the provider `log`.
pub(super) fn log_file(world: &World) -> PathBuf {
    world.server.folder().join("data/sms.log")
}

/// All messages that the provider `log` has written.
pub(super) fn texts(world: &World) -> Vec<Text> {
    let written = std::fs::read_to_string(log_file(world)).unwrap_or_default();
    let message = |line: &str| {
        let (to, rest) = line.strip_prefix("to +")?.split_once(" from ")?;
        let (_, text) = rest.split_once(": ")?;
        Some(Text { to: to.to_owned(), text: text.to_owned() })
    };
    written.lines().map(|line| message(line).unwrap_or_else(|| panic!("not a message: {line}"))).collect()
}

/// The body of requestToken for a number.
pub(super) fn wish(number: &str, country: &str, client_secret: &str, send_attempt: u32) -> Value {
    json!({
        "client_secret": client_secret,
        "phone_number": number,
        "country": country,
        "send_attempt": send_attempt,
    })
}

/// `POST /validate/msisdn/requestToken`.
pub(super) fn ask(world: &World, access_token: &str, body: Value) -> Call {
    world.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(access_token)
}

/// `POST /validate/msisdn/submitToken`, whatever comes of it.
pub(super) async fn submit(world: &World, access_token: &str, session: &Session, code: &str) -> Answer {
    let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "token": code });
    world.api.post(&v2("/validate/msisdn/submitToken"), body).bearer(access_token).send().await
}

/// Asks for a code to a number of Great Britain; gives the session with the code that was sent.
pub(super) async fn request_code(world: &World, access_token: &str, number: &str) -> Session {
    let client_secret = Random.base62(16);
    let answer = ask(world, access_token, wish(number, "GB", &client_secret, 1)).send().await.expect(200);
    let sid = answer["sid"].as_str().expect("a sid").to_owned();
    let msisdn = answer["msisdn"].as_str().expect("a number").to_owned();
    let text = texts(world).into_iter().rfind(|text| text.to == msisdn).expect("a message");
    Session { sid, client_secret, token: text.code() }
}
