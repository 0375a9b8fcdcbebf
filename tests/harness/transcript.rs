//! A body as readable text, for the demo and for failed assertions.
//!
//! Invariant: it only formats.

use serde_json::Value;

/// A body with `margin` before each of its lines; nothing for an empty one.
pub fn body(margin: &str, bytes: &[u8]) -> String {
    const LINES: usize = 60;
    let text = match serde_json::from_slice::<Value>(bytes) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| format!("({} bytes)", bytes.len())),
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
    use super::body;

    #[test]
    fn long_bodies_are_cut() {
        assert_eq!(body("", "x\n".repeat(70).as_bytes()).lines().last(), Some("… and 10 more lines"));
        assert_eq!(body("", "ä".repeat(400).as_bytes()).chars().count(), 302);
        assert_eq!(body("> ", b""), "");
    }
}
