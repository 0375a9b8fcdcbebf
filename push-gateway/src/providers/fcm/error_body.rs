//! What Google says when it refuses: a `google.rpc.Status` as JSON, or anything else that stands between us and Google
//! (a proxy's page in HTML, half a body, nothing).
//!
//! Invariant: nothing in here is trusted to have any form, to be true, or to be fit for a log as it is.

use serde_json::Value;

/// How much of a text goes into a log, in characters.
const MAX_DETAIL: usize = 200;

/// The parts of an error that decide something; all empty if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// `details[].errorCode`, what FCM itself says, such as `UNREGISTERED`.
    pub(super) code: Option<String>,
    /// `status`, what Google's interfaces have in common, such as `NOT_FOUND`.
    pub(super) status: Option<String>,
    /// `message`, for people.
    pub(super) message: Option<String>,
    /// `details[].fieldViolations[].field`, such as `message.token`.
    pub(super) fields: Vec<String>,
    /// The body's beginning, if it is nothing of the kind.
    other: String,
}

impl ErrorBody {
    /// Reads as much as can be read.
    pub(super) fn parse(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Value>(body) else { return Self::unreadable(body) };
        // A stream's error comes as a list with one member.
        let Some(error) = json.get("error").or_else(|| json.get(0)?.get("error")).filter(|error| error.is_object())
        else {
            return Self::unreadable(body);
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
        let violations = details().filter_map(|detail| detail.get("fieldViolations")?.as_array()).flatten();
        Self {
            code: details().find_map(|detail| text(detail, "errorCode")),
            status: text(error, "status"),
            message: text(error, "message"),
            fields: violations.filter_map(|violation| text(violation, "field")).collect(),
            other: String::new(),
        }
    }

    fn unreadable(body: &[u8]) -> Self {
        let start = &body[..body.len().min(4 * MAX_DETAIL)];
        Self { other: String::from_utf8_lossy(start).into_owned(), ..Self::default() }
    }

    /// FCM's own code, else the common one.
    pub(super) fn code_or_status(&self) -> Option<&str> {
        self.code.as_deref().or(self.status.as_deref())
    }

    /// One of Google's codes, for a debug line; a remote text never gets there by this way.
    pub(super) fn label(&self) -> &str {
        let is_code = |text: &&str| text.len() < 40 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        self.code_or_status().filter(is_code).unwrap_or("")
    }

    /// Whether it is the registration token or installation id that is found fault with.
    pub(super) fn blames_target(&self) -> bool {
        let names_target = |field: &String| matches!(field.as_str(), "message.token" | "message.fid");
        self.fields.iter().any(names_target)
            || self.message.as_ref().is_some_and(|text| text.to_ascii_lowercase().contains("registration token"))
    }

    /// Whether it is a part of the message that the operator's `fcm_options` may have, and that no user writes in the
    /// reduced form.
    pub(super) fn blames_options(&self) -> bool {
        const PARTS: [&str; 5] = ["notification", "android", "apns", "webpush", "fcm_options"];
        let is_option = |field: &String| {
            field
                .strip_prefix("message.")
                .is_some_and(|path| PARTS.contains(&path.split(['.', '[']).next().unwrap_or_default()))
        };
        self.fields.iter().any(is_option)
    }

    /// For the operator's log: on one line, at most 200 characters, and without `pushkey`.
    pub(super) fn detail(&self, pushkey: &str) -> String {
        let mut parts: Vec<&str> =
            [&self.status, &self.code, &self.message].into_iter().flatten().map(|text| &**text).collect();
        parts.dedup();
        parts.extend(self.fields.iter().map(String::as_str));
        if !self.other.is_empty() {
            parts.push(&self.other);
        }
        let mut text = parts.join(", ");
        if !pushkey.is_empty() {
            text = text.replace(pushkey, "***");
        }
        escaped(&text)
    }
}

/// `text` with control characters escaped, cut to 200 characters.
pub(super) fn escaped(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let piece = if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() };
        length += piece.chars().count();
        if length > MAX_DETAIL {
            break;
        }
        out.push_str(&piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ErrorBody, escaped};

    fn parse(json: &serde_json::Value) -> ErrorBody {
        ErrorBody::parse(json.to_string().as_bytes())
    }

    #[test]
    fn the_code_the_status_and_the_fields_are_found_in_any_order_of_the_details() {
        let error = parse(&json!({"error": {
            "code": 400, "status": "INVALID_ARGUMENT", "message": "Request contains an invalid argument.",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.BadRequest",
                 "fieldViolations": [{"field": "message.ttl"}, {"field": "message.token", "description": "no"}]},
                {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"},
            ],
        }}));
        assert_eq!(error.code.as_deref(), Some("INVALID_ARGUMENT"));
        assert_eq!(error.status.as_deref(), Some("INVALID_ARGUMENT"));
        assert_eq!(error.fields, ["message.ttl", "message.token"]);
        assert!(error.blames_target());
    }

    #[test]
    fn the_operators_options_are_blamed_by_their_names() {
        let blames = |field: &str| {
            let details = json!([{"fieldViolations": [{"field": field}]}]);
            parse(&json!({"error": {"status": "INVALID_ARGUMENT", "details": details}})).blames_options()
        };
        for (field, is_blamed) in [
            ("message.android.ttl", true),
            ("message.notification", true),
            ("message.apns.payload.aps", true),
            ("message.data[0].value", false),
            ("message.token", false),
            ("message.notifications", false),
            ("notification", false),
            ("", false),
        ] {
            assert_eq!(blames(field), is_blamed, "{field}");
        }
    }

    #[test]
    fn fcms_own_code_is_dearer_than_the_common_status() {
        let error =
            parse(&json!({"error": {"status": "PERMISSION_DENIED", "details": [{"errorCode": "SENDER_ID_MISMATCH"}]}}));
        assert_eq!(error.code_or_status(), Some("SENDER_ID_MISMATCH"));
        let error = parse(&json!({"error": {"status": "NOT_FOUND"}}));
        assert_eq!((error.code_or_status(), error.code.as_deref()), (Some("NOT_FOUND"), None));
    }

    #[test]
    fn only_the_target_makes_an_argument_the_devices_fault() {
        for (error, blames) in [
            (json!({"message": "The registration token is not a valid FCM registration token"}), true),
            (json!({"message": "Invalid registration token"}), true),
            (json!({"details": [{"fieldViolations": [{"field": "message.fid"}]}]}), true),
            (json!({"details": [{"fieldViolations": [{"field": "message.token.x"}]}]}), false),
            (json!({"details": [{"fieldViolations": [{"field": "message.data[0].value"}]}]}), false),
            (json!({"message": "Android message is too big"}), false),
            (json!({}), false),
        ] {
            assert_eq!(parse(&json!({"error": error})).blames_target(), blames, "{error}");
        }
    }

    #[test]
    fn a_body_of_any_other_form_says_nothing_and_breaks_nothing() {
        for body in [
            "",
            "null",
            "[]",
            "5",
            "{}",
            r#"{"error": "NOT_FOUND"}"#,
            r#"{"error": null}"#,
            r#"{"error": {"details": 5, "status": 5, "message": []}}"#,
            r#"{"error": {"details": [5, null, {"errorCode": 5}, {"fieldViolations": {"field": "message.token"}}]}}"#,
            "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>",
            r#"{"error": {"status": "NOT_FO"#,
        ] {
            let error = ErrorBody::parse(body.as_bytes());
            assert_eq!((error.code_or_status(), error.blames_target()), (None, false), "{body}");
        }
        let deep = "[".repeat(16_000);
        assert_eq!(ErrorBody::parse(deep.as_bytes()).code, None);
        assert_eq!(ErrorBody::parse(b"\xff\xfe\x00").code, None);
    }

    #[test]
    fn a_log_gets_one_short_line_without_the_pushkey() {
        let error = parse(&json!({"error": {"status": "NOT_FOUND", "message": "no \u{1b}[31m\n'tok-1'\u{202e}"}}));
        assert_eq!(error.detail("tok-1"), r"NOT_FOUND, no \u{1b}[31m\n'***'\u{202e}");
        assert_eq!(ErrorBody::parse(b"<html>\r\n").detail(""), r"<html>\r\n");
        assert_eq!(ErrorBody::parse(&[b'x'; 9_999]).detail("k").chars().count(), 200);
        assert_eq!(escaped(&"\n".repeat(500)).len(), 200);
        assert_eq!(escaped("é🦉"), "é🦉");
    }
}
