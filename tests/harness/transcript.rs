//! An exchange as text for people: the demo shows it, and so does a failed assertion.
//!
//! Invariant: it only formats; nothing here talks to anyone.

use serde_json::Value;

use crate::api::Answer;

/// Method, path and body of the request, then status and body of the answer; JSON indented, long text cut.
pub fn exchange(answer: &Answer) -> String {
    let mut text = format!("{} {}\n", answer.method, answer.path);
    text.push_str(&body("  > ", &answer.sent));
    text.push_str(&format!("{}\n", answer.status));
    text.push_str(&body("  < ", &answer.body));
    text
}

/// A body with `margin` before each of its lines; nothing for an empty one.
pub fn body(margin: &str, bytes: &[u8]) -> String {
    const LINES: usize = 60;
    let text = match serde_json::from_slice::<Value>(bytes) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut shown: String = text.lines().take(LINES).map(|line| format!("{margin}{}\n", cut(line))).collect();
    let more = text.lines().count().saturating_sub(LINES);
    if more > 0 {
        shown.push_str(&format!("{margin}… and {more} more lines\n"));
    }
    shown
}

fn cut(line: &str) -> String {
    const WIDTH: usize = 300;
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{body, exchange};
    use crate::api::Answer;
    use hyper::{HeaderMap, Method, StatusCode};

    #[test]
    fn an_exchange_reads_from_top_to_bottom() {
        let answer = Answer {
            method: Method::POST,
            path: "/lookup".to_owned(),
            sent: r#"{"a":1}"#.into(),
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            body: "no".into(),
        };
        assert_eq!(exchange(&answer), "POST /lookup\n  > {\n  >   \"a\": 1\n  > }\n400 Bad Request\n  < no\n");
    }

    #[test]
    fn long_bodies_are_cut() {
        assert_eq!(body("", "x\n".repeat(70).as_bytes()).lines().last(), Some("… and 10 more lines"));
        assert_eq!(body("", "ä".repeat(400).as_bytes()).chars().count(), 302);
        assert_eq!(body("> ", b""), "");
    }
}
