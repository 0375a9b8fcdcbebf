//! Which push service a device is reached by: apps register UnifiedPush, browsers and Firebase under one `app_id`, and only the
//! form of the pushkey separates them.
//!
//! Invariant: a pure function of the type of the app, the pushkey and its `data`. A URL never reaches Google.

use serde_json::{Map, Value};

use crate::providers::outcome::Reason;
use crate::providers::webpush::subscription::is_public_key;

/// The longest registration token of FCM.
const MAX_TOKEN: usize = 1024;

/// What an app of some type is routed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The push service of the app's type.
    Own,
    UnifiedPush,
    WebPush,
    Rejected(Reason),
}

/// The forms of a pushkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Url,
    /// Starts like a URL, but cannot be an endpoint.
    OtherUrl,
    Subscription,
    Other,
}

/// The route of a device of an app of this type. `has_webpush`, `has_unifiedpush`: whether the app can send there.
pub(crate) fn route(
    type_name: &str,
    has_unifiedpush: bool,
    has_webpush: bool,
    pushkey: &str,
    data: &Map<String, Value>,
) -> Route {
    let otherwise = |is_there: bool, route: Route, reason| if is_there { route } else { Route::Rejected(reason) };
    match (type_name, form(pushkey, data)) {
        ("fcm", Form::Url) => otherwise(has_unifiedpush, Route::UnifiedPush, "invalid_token"),
        ("fcm", Form::OtherUrl) if has_unifiedpush => Route::Rejected("invalid_endpoint"),
        ("fcm", Form::OtherUrl) => Route::Rejected("invalid_token"),
        ("fcm", Form::Subscription) => otherwise(has_webpush, Route::WebPush, "invalid_token"),
        ("fcm", Form::Other) => otherwise(is_token(pushkey), Route::Own, "invalid_token"),
        ("webpush", Form::Url) => otherwise(has_unifiedpush, Route::UnifiedPush, "invalid_subscription"),
        ("webpush", Form::OtherUrl) => Route::Rejected("invalid_endpoint"),
        ("webpush", Form::Subscription) | ("unifiedpush", Form::Url) => Route::Own,
        ("webpush", Form::Other) => Route::Rejected("invalid_subscription"),
        ("unifiedpush", Form::OtherUrl | Form::Subscription | Form::Other) => Route::Rejected("invalid_endpoint"),
        ("apns" | "huawei", Form::Url | Form::OtherUrl | Form::Subscription) => Route::Rejected("invalid_token"),
        // The provider knows the form of its tokens.
        _ => Route::Own,
    }
}

fn form(pushkey: &str, data: &Map<String, Value>) -> Form {
    if let Some(form) = url_form(pushkey) {
        return form;
    }
    let has_endpoint = data.get("endpoint").is_some_and(Value::is_string);
    if pushkey.starts_with('{') || has_endpoint && is_public_key(pushkey) { Form::Subscription } else { Form::Other }
}

/// The form of a text that starts with a scheme.
fn url_form(pushkey: &str) -> Option<Form> {
    let (scheme, rest) = pushkey.split_once(':')?;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    match (is_web, rest.starts_with("//")) {
        (true, true) => Some(Form::Url),
        (true, false) => Some(Form::OtherUrl),
        (false, true) if is_scheme => Some(Form::OtherUrl),
        (false, _) => None,
    }
}

/// Whether FCM could know this token.
fn is_token(pushkey: &str) -> bool {
    (1..=MAX_TOKEN).contains(&pushkey.len()) && pushkey.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::Route::{self, Own, Rejected, UnifiedPush, WebPush};
    use super::route;

    const KEY: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

    /// The routes of an app of each type that can send everywhere: fcm, webpush, unifiedpush, apns; huawei as apns.
    fn routes(pushkey: &str, data: &Value) -> [Route; 4] {
        let data: Map<String, Value> = data.as_object().unwrap().clone();
        let of = |name| route(name, true, true, pushkey, &data);
        assert_eq!(of("huawei"), of("apns"));
        ["fcm", "webpush", "unifiedpush", "apns"].map(of)
    }

    #[test]
    fn the_first_matching_form_decides() {
        let (none, endpoint) = (json!({}), json!({ "endpoint": "https://x.example/" }));
        let (token, url, subscription) =
            (Rejected("invalid_token"), Rejected("invalid_endpoint"), Rejected("invalid_subscription"));
        let as_url = [UnifiedPush, UnifiedPush, Own, token];
        let bad_url = [url, url, url, token];
        let as_subscription = [WebPush, Own, url, token];
        let as_token = [Own, subscription, url, Own];
        let junk = [token, subscription, url, Own];
        let long = "k".repeat(1025);
        for (pushkey, data, expected) in [
            ("https://ntfy.sh/upAAAA?up=1", &none, as_url),
            ("HTTPS://NTFY.SH/upAAAA?up=1", &none, as_url),
            ("http://ntfy.sh/up", &none, as_url),
            ("https:/ntfy.sh/up", &none, bad_url),
            ("https:x", &none, bad_url),
            ("https:\\\\ntfy.sh", &none, bad_url),
            ("ftp://x/y", &none, bad_url),
            ("unix://x", &none, bad_url),
            ("{}", &none, as_subscription),
            (KEY, &endpoint, as_subscription),
            (KEY, &none, as_token),
            (KEY, &json!({ "endpoint": 5 }), as_token),
            (&KEY[1..], &endpoint, as_token),
            ("cAbCdEfGhIjKlMnOpQrStU", &none, as_token),
            ("abc:APA91b_x-1", &none, as_token),
            (" https://ntfy.sh/up", &none, junk),
            ("tok en", &none, junk),
            ("a/b", &none, junk),
            ("é", &none, junk),
            (&long, &none, junk),
        ] {
            assert_eq!(routes(pushkey, data), expected, "{pushkey}");
        }
    }

    #[test]
    fn without_the_sender_a_url_or_subscription_is_no_token() {
        let data = Map::from_iter([("endpoint".to_owned(), json!("https://x.example/"))]);
        for pushkey in ["https://ntfy.sh/up", "https:x", "ftp://x/y", "{}", KEY] {
            assert_eq!(route("fcm", false, false, pushkey, &data), Rejected("invalid_token"), "{pushkey}");
        }
        let url = "https://ntfy.sh/up";
        assert_eq!(route("webpush", false, false, url, &data), Rejected("invalid_subscription"));
        assert_eq!(route("unifiedpush", false, false, url, &data), Own);
    }
}
