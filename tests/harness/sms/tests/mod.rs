//! Shows that each vendor takes what its documentation shows, and refuses or complains of what it forbids.

mod exec;
mod faults;
mod generic;
mod infobip;
mod openmarket;
mod rules;
mod signature;
mod sns;
mod twilio;
mod vonage;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;

use super::{Sms, SmsGateway};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.text).unwrap()
    }
}

/// A request, written out by hand.
fn request(
    gateway: &SmsGateway,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let method = method.parse().unwrap();
    let request = client.request(method, format!("{}{target}", gateway.url())).body(body.to_vec());
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn ask(gateway: &SmsGateway, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let answer = request(gateway, method, target, headers, body).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The value of a key in a gateway's settings.
fn setting(gateway: &SmsGateway, key: &str) -> String {
    let config = gateway.config();
    let line = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no {key} in {config}"))).unwrap()
}

fn sms(to: &str, from: &str, text: &str) -> Sms {
    Sms { to: to.to_owned(), from: from.to_owned(), text: text.to_owned() }
}

/// The complaints since the last time; forgets them.
fn take_complaints(gateway: &SmsGateway) -> Vec<String> {
    std::mem::take(&mut gateway.world.state().complaints)
}
