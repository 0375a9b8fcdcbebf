//! The identifiers of an app at Apple: of the key, of the team, and its topic.
//!
//! Invariant: what was copied with an identifier, a blank or a quote, is no part of it, and everything else is an error.

use shared::text_file::unquoted;

/// Cleans and checks the identifiers.
///
/// # Errors
/// The key and the problem.
pub(super) fn check(
    key_id: &mut Option<String>,
    team_id: &mut Option<String>,
    topic: &mut String,
) -> Result<(), String> {
    check_id("key_id", key_id)?;
    check_id("team_id", team_id)?;
    check_topic(topic)
}

/// The identifier of a key or a team, as the developer's account shows it; an empty one is unset.
fn check_id(key: &str, written: &mut Option<String>) -> Result<(), String> {
    *written = written.as_deref().map(unquoted).filter(|id| !id.is_empty()).map(str::to_owned);
    let is_valid = |id: &String| id.len() == 10 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if written.as_ref().is_none_or(is_valid) {
        return Ok(());
    }
    Err(format!(
        "{key}: expected 10 capital letters and digits, such as \"ABC1234567\"; copy it from Apple's developer account"
    ))
}

fn check_topic(written: &mut String) -> Result<(), String> {
    *written = unquoted(written).to_owned();
    let is_topic = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
    if written.is_empty() || !written.bytes().all(is_topic) {
        return Err(String::from("topic: expected the app's bundle id, such as \"com.example.app\""));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn identifiers_lose_what_was_copied_with_them_and_are_checked() {
        let id = |text: &str| {
            let mut id = Some(text.to_owned());
            super::check_id("key_id", &mut id).map(|()| id)
        };
        for text in [" ABC1234567\n", "\"ABC1234567\"", "ABC1234567\u{200b}", "'ABC1234567'"] {
            assert_eq!(id(text), Ok(Some("ABC1234567".to_owned())), "{text:?}");
        }
        assert_eq!([id(""), id(" ")], [Ok(None), Ok(None)]);
        for text in ["abc1234567", "ABC123456", "ABC12345678", "ABC 123456", "\u{410}BC1234567"] {
            assert!(id(text).unwrap_err().starts_with("key_id: expected 10 "), "{text}");
        }
        let topic = |text: &str| {
            let mut topic = text.to_owned();
            super::check_topic(&mut topic).map(|()| topic)
        };
        assert_eq!(topic(" 'com.example.App-1' "), Ok("com.example.App-1".to_owned()));
        for text in ["", "com example", "com.example\nx", "com.ex\u{e4}mple", "com/example", "com_example"] {
            assert!(topic(text).unwrap_err().starts_with("topic: expected "), "{text}");
        }
    }
}
