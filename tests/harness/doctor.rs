//! What `doctor` prints.

/// Asserts that the finding about `subject` has this status and text.
///
/// # Panics
/// If there is none.
#[track_caller]
pub fn has(output: &str, status: &str, subject: &str, text: &str) {
    let start = format!("{status:<8}{subject}: ");
    let found = output.lines().any(|line| line.starts_with(&start) && line.contains(text));
    assert!(found, "no line {start}{text}\n{output}");
}
