//! Any gateway that takes a message in one HTTP request, as `[sms.http]` describes it.
//!
//! Invariant: each value is escaped for its place and never parsed as template text, so no message text becomes another
//! field, line or header.

use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shared::outbound::client::Reply;
use shared::secret::Secret;
use zeroize::Zeroizing;

use super::super::SmsSetupError;
use super::super::http_provider::{HttpApi, RequestResult, by_status};
use super::super::provider::{Outcome, Reason, Sms};
use super::{needed, web_url};
use crate::config::sms::providers::{HttpTemplate as Settings, Success};
use crate::domain::placeholders::{fill, list, placeholders, unknown};

/// Header fields that the server sets itself.
const RESERVED: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION];

const NAMES: [&str; 5] = ["to", "from", "text", "token", "secret"];

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

/// How a value is escaped for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// A JSON string.
    Json,
    /// A URL, or a value of a form.
    Url,
    /// Text or a quoted attribute of XML.
    Xml,
    /// One line of plain text.
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
        let url = needed("[sms.http] url", &settings.url)?;
        // Placeholders in the URL do not change whether it is one.
        web_url("[sms.http] url", url.expose())?;
        let method = match settings.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => return Err(invalid("method", "expected \"GET\", \"POST\" or \"PUT\"")),
        };
        match (method == Method::GET, &settings.body) {
            (true, Some(_)) => return Err(invalid("body", "a GET has none; remove it, or set another method")),
            (false, None) => return Err(invalid("body", "missing; set it, or method = \"GET\"")),
            _ => {}
        }
        check_success(&settings.success)?;
        let escape = Escape::of(&settings.content_type).ok_or_else(|| {
            invalid("content_type", "expected JSON, XML, plain text or \"application/x-www-form-urlencoded\"")
        })?;
        let http = Self {
            method,
            url: url.clone(),
            headers: headers(settings)?,
            content_type: HeaderValue::try_from(&settings.content_type)
                .map_err(|_| invalid("content_type", "not a valid header value"))?,
            escape,
            body: settings.body.clone(),
            secret: settings.secret.clone(),
            success: settings.success.clone(),
        };
        http.check_placeholders()?;
        Ok(http)
    }

    /// Rejects `{secret}` without a secret, and a request without the recipient or the text.
    fn check_placeholders(&self) -> Result<(), SmsSetupError> {
        let templates = [&self.url].into_iter().chain(&self.body).chain(self.headers.iter().map(|(_, value)| value));
        if let Some(found) = templates.map(|template| unknown(template.expose(), &NAMES)).find_map(|found| found) {
            let problem = format!("unknown placeholder {found}; write {}", list(&NAMES));
            return Err(invalid("url, headers and body", &problem));
        }
        let in_headers = self.headers.iter().flat_map(|(_, value)| placeholders(value.expose(), &NAMES));
        let used: Vec<&str> = [&self.url]
            .into_iter()
            .chain(&self.body)
            .flat_map(|template| placeholders(template.expose(), &NAMES))
            .collect();
        if self.secret.is_none() && in_headers.chain(used.iter().copied()).any(|name| name == "secret") {
            return Err(invalid("secret", "missing, but the request contains {secret}; set it"));
        }
        if used.contains(&"to") && (used.contains(&"text") || used.contains(&"token")) {
            return Ok(());
        }
        Err(invalid("url and body", "{to}, and {text} or {token}, are required in one of them"))
    }

    fn fill(&self, template: &Secret<String>, escape: Escape, sms: &Sms<'_>) -> Zeroizing<String> {
        let from = sms.from.to_string();
        Zeroizing::new(fill(template.expose(), &NAMES, |name| {
            escape.write(match name {
                "to" => sms.to,
                "from" => &from,
                "text" => sms.text,
                "token" => sms.token,
                _ => self.secret.as_ref().map_or("", |secret| secret.expose()),
            })
        }))
    }
}

fn invalid(key: &str, problem: &str) -> SmsSetupError {
    SmsSetupError::Invalid(format!("[sms.http] {key}: {problem}"))
}

fn check_success(success: &Success) -> Result<(), SmsSetupError> {
    if success.json.keys().any(|pointer| !pointer.starts_with('/')) {
        return Err(invalid("success.json", "expected JSON pointers, such as \"/messages/0/status\""));
    }
    for status in success.status.as_slice() {
        let is_class = status.strip_suffix("xx").is_some_and(|class| ["2", "3", "4"].contains(&class));
        let is_code = status.len() == 3 && status.parse().is_ok_and(|code: u16| (200..600).contains(&code));
        if !(is_class || is_code) {
            return Err(invalid("success.status", "expected codes such as \"200\", or \"2xx\""));
        }
    }
    Ok(())
}

fn headers(settings: &Settings) -> Result<Vec<(HeaderName, Secret<String>)>, SmsSetupError> {
    let mut headers = Vec::new();
    for (name, value) in &settings.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid("headers", "not a header name"))?;
        if RESERVED.contains(&name) {
            return Err(invalid("headers", "the server sets this header itself; remove it, or set content_type"));
        }
        headers.push((name, value.clone()));
    }
    Ok(headers)
}

impl HttpApi for Http {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
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

    fn outcome(&self, response: &Reply) -> Outcome {
        let Success { status, contains, json } = &self.success;
        let code = response.status.as_str();
        let is_status = status.as_slice().iter().any(|expected| match expected.strip_suffix("xx") {
            Some(class) => code.starts_with(class),
            None => code == expected,
        });
        if !is_status {
            return by_status(response.status, None);
        }
        let text = String::from_utf8_lossy(&response.body);
        if contains.as_ref().is_some_and(|expected| !text.contains(expected.as_str())) {
            return Outcome::Unclear(Reason::new("response without success.contains"));
        }
        let parsed: Value = if json.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_default() };
        let found = |pointer: &str| match parsed.pointer(pointer)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        // Without the expected values it is unknown whether the gateway has sent the message.
        if json.iter().all(|(pointer, expected)| found(pointer).as_ref() == Some(expected)) {
            Outcome::Accepted
        } else {
            Outcome::Unclear(Reason::new("response without success.json"))
        }
    }
}

#[cfg(test)]
mod tests;
