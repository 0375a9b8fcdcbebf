//! A gateway of which nothing is documented.
//!
//! Invariant: it takes whatever comes, and has no complaints: the test looks at the request itself.

use serde_json::{Value, json};

use super::Sms;
use crate::fake::{Reply, Request};

/// A header that the template sends along.
const HEADER: (&str, &str) = ("X-Api-Key", "0123456789abcdef");

pub(super) fn config(base: &str) -> String {
    let url = format!("{base}/send");
    let (name, value) = HEADER;
    format!(
        "[sms.http]\nurl = {url:?}\nmethod = \"POST\"\nheaders = {{ {name} = {value:?} }}\n\
         content_type = \"application/x-www-form-urlencoded\"\n\
         body = \"to={{to}}&from={{from}}&text={{text}}&code={{token}}\"\n"
    )
}

/// The message as far as it can be made out: `to`, `from` and `text` of a JSON object, of a form, or of the query. What is
/// no such thing is all text.
pub(super) fn judge(request: &Request) -> (Sms, Reply) {
    let json = request.try_json().filter(Value::is_object);
    let fields: Vec<(String, String)> = match &json {
        Some(_) => Vec::new(),
        None => [request.body.as_ref(), request.query().as_bytes()]
            .into_iter()
            .flat_map(|text| url::form_urlencoded::parse(text).into_owned())
            .collect(),
    };
    let field = |name: &str| {
        let in_json = json.as_ref().and_then(|json| json[name].as_str());
        in_json.or_else(|| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()))
    };
    let text = field("text").map_or_else(|| String::from_utf8_lossy(&request.body).into_owned(), str::to_owned);
    let to = field("to").unwrap_or_default().trim_start_matches('+').to_owned();
    let sms = Sms { to, from: field("from").unwrap_or_default().to_owned(), text };
    (sms, Reply::json(200, json!({"status": "ok"})))
}

pub(super) fn error(code: &str) -> Reply {
    Reply::json(400, json!({"error": code}))
}

pub(super) fn status(status: u16) -> Reply {
    Reply::json(status, json!({"error": format!("HTTP {status}")}))
}
