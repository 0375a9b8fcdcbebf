//! Any gateway that takes a message in one HTTP request, as the operator describes it in `[sms.http]`.
//!
//! Invariant: a value is escaped for the place where it is put, and never read as template text again: no text of a
//! message can become another field, line or header.

use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;
use zeroize::Zeroizing;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Reason, Sms};
use super::{SmsSetupError, needed, web_url};
use crate::config::sms::providers::{HttpTemplate as Settings, Success};

/// Header fields that say how the request is carried, which is not the operator's to say.
const OURS: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION];

/// The names that a template may hold.
const NAMES: [&str; 5] = ["to", "from", "text", "token", "secret"];

/// A gateway as the operator describes it.
pub(super) struct Http {
    method: Method,
    url: Secret<String>,
    headers: Vec<(HeaderName, Secret<String>)>,
    content_type: HeaderValue,
    escape: Escape,
    body: Option<Secret<String>>,
    secret: Option<Secret<String>>,
    success: Success,
}

/// How a value is written so that it stays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// Within a string of JSON.
    Json,
    /// Within a URL, or the value of a field of a form.
    Url,
    /// Within text or a quoted attribute of XML.
    Xml,
    /// A line of plain text: as it is, without line breaks.
    Line,
}

impl Escape {
    fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Url),
            "text/plain" => Some(Self::Line),
            json if json == "application/json" || json.ends_with("+json") => Some(Self::Json),
            xml if xml == "application/xml" || xml == "text/xml" || xml.ends_with("+xml") => Some(Self::Xml),
            _ => None,
        }
    }

    fn write(self, value: &str) -> String {
        match self {
            Self::Json => {
                let quoted = Value::from(value).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Self::Url => utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
            Self::Xml => value.chars().fold(String::new(), |mut text, c| {
                match c {
                    '&' => text.push_str("&amp;"),
                    '<' => text.push_str("&lt;"),
                    '>' => text.push_str("&gt;"),
                    '"' => text.push_str("&quot;"),
                    '\'' => text.push_str("&apos;"),
                    c => text.push(c),
                }
                text
            }),
            Self::Line => value.replace(char::is_control, " "),
        }
    }
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let wrong = |key: &str, why: &str| SmsSetupError::Wrong(format!("sms.http.{key}: {why}"));
        let url = needed("sms.http.url", settings.url.as_ref())?;
        // The names in it make no difference to what it is.
        web_url("sms.http.url", url.expose())?;
        let method = match settings.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => return Err(wrong("method", "expected \"GET\", \"POST\" or \"PUT\"")),
        };
        match (method == Method::GET, &settings.body) {
            (true, Some(_)) => return Err(wrong("body", "a GET has none: take it out, or set another method")),
            (false, None) => return Err(wrong("body", "set it, or method = \"GET\"")),
            _ => {}
        }
        if settings.success.json.keys().any(|place| !place.starts_with('/')) {
            return Err(wrong("success.json", "expected places that begin with \"/\", such as \"/messages/0/status\""));
        }
        let escape = Escape::of(&settings.content_type).ok_or_else(|| {
            wrong("content_type", "expected JSON, XML, plain text or \"application/x-www-form-urlencoded\"")
        })?;
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong("headers", "not the name of a header"))?;
            if OURS.contains(&name) {
                return Err(wrong(
                    "headers",
                    "a header is among them that is written here; content_type has a key of its own",
                ));
            }
            headers.push((name, value.clone()));
        }
        for status in settings.success.status.as_slice() {
            let is_class = status.strip_suffix("xx").is_some_and(|class| ["2", "3", "4"].contains(&class));
            let is_code = status.len() == 3 && status.parse().is_ok_and(|code: u16| (200..600).contains(&code));
            if !(is_class || is_code) {
                return Err(wrong("success.status", "expected codes such as \"200\", or \"2xx\""));
            }
        }
        let http = Self {
            method,
            url: url.clone(),
            headers,
            content_type: HeaderValue::try_from(&settings.content_type)
                .map_err(|_| wrong("content_type", "not the value of a header"))?,
            escape,
            body: settings.body.clone(),
            secret: settings.secret.clone(),
            success: settings.success.clone(),
        };
        http.check_names()?;
        Ok(http)
    }

    /// Refuses a name that means nothing, and a template that never says to whom or what.
    fn check_names(&self) -> Result<(), SmsSetupError> {
        let in_headers = self.headers.iter().flat_map(|(_, value)| names(value.expose()));
        let used: Vec<&str> =
            [&self.url].into_iter().chain(&self.body).flat_map(|template| names(template.expose())).collect();
        if self.secret.is_none() && in_headers.chain(used.iter().copied()).any(|name| name == "secret") {
            return Err(SmsSetupError::Wrong("sms.http.secret: set it, {secret} stands in the request".to_owned()));
        }
        let says_what = used.contains(&"text") || used.contains(&"token");
        if used.contains(&"to") && says_what {
            return Ok(());
        }
        Err(SmsSetupError::Wrong("sms.http: {to}, and {text} or {token}, must stand in the url or the body".to_owned()))
    }

    fn fill(&self, template: &Secret<String>, escape: Escape, sms: &Sms<'_>) -> Zeroizing<String> {
        let from = sms.from.to_string();
        let mut text = Zeroizing::new(String::new());
        let mut rest = template.expose().as_str();
        while let Some((before, name, after)) = next_name(rest) {
            let value = match name {
                "to" => sms.to,
                "from" => &from,
                "text" => sms.text,
                "token" => sms.token,
                _ => self.secret.as_ref().map_or("", |secret| secret.expose()),
            };
            text.push_str(before);
            text.push_str(&escape.write(value));
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

/// The text before the first `{name}`, the name, and the text after it. Other braces are text, as in JSON.
fn next_name(text: &str) -> Option<(&str, &'static str, &str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let after = &text[at + 1..];
        let name = NAMES.into_iter().find(|name| after.strip_prefix(name).is_some_and(|rest| rest.starts_with('}')))?;
        Some((&text[..at], name, &after[name.len() + 1..]))
    })
}

fn names(template: &str) -> Vec<&'static str> {
    let (mut names, mut rest) = (Vec::new(), template);
    while let Some((_, name, after)) = next_name(rest) {
        names.push(name);
        rest = after;
    }
    names
}

impl Api for Http {
    fn request(&self, sms: &Sms<'_>, _now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let url = self.fill(&self.url, Escape::Url, sms);
        let mut request = Request::builder().method(self.method.clone()).uri(url.as_str());
        if self.method != Method::GET {
            request = request.header(CONTENT_TYPE, &self.content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(name, self.fill(value, Escape::Line, sms).as_str());
        }
        let body = self.body.as_ref().filter(|_| self.method != Method::GET);
        request.body(body.map(|body| self.fill(body, self.escape, sms).as_bytes().to_vec()).unwrap_or_default())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let Success { status, contains, json } = &self.success;
        let code = reply.status.as_str();
        let is_status = status.as_slice().iter().any(|wanted| match wanted.strip_suffix("xx") {
            Some(class) => code.starts_with(class),
            None => code == wanted,
        });
        if !is_status {
            return by_status(reply.status, None);
        }
        let text = String::from_utf8_lossy(&reply.body);
        if contains.as_ref().is_some_and(|wanted| !text.contains(wanted.as_str())) {
            return Outcome::Unclear(Reason::new("success.contains is not in its answer"));
        }
        let parsed: Value = if json.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_default() };
        let said = |place: &str| match parsed.pointer(place)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let holds = |(place, wanted): (&String, &String)| said(place).as_ref() == Some(wanted);
        // Whether a gateway that answers so has sent the message, nobody knows.
        if json.iter().all(holds) {
            Outcome::Accepted
        } else {
            Outcome::Unclear(Reason::new("success.json does not hold"))
        }
    }
}

#[cfg(test)]
mod tests;
