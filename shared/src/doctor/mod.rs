//! The report of `doctor`, the command that walks the path of a client and of a homeserver through a deployment.
//!
//! Invariant: every failure has a cause and a next step, and no text has a secret.

pub mod clocks;
pub mod prober;
pub mod public_url;

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Good,
    /// It works, but an operator should know something.
    Note,
    /// It does not work.
    Failed,
    /// It was not checked, for lack of an argument or because of an earlier failure.
    Skipped,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub status: Status,
    /// What was checked, such as `database`; after a comma, which one of several.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What the operator does about it.
    pub next_step: Option<String>,
}

/// Lines that the configuration of another program lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    title: String,
    text: String,
}

/// The findings in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    snippets: Vec<Snippet>,
}

impl Status {
    /// The word at the start of a line, and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

impl Report {
    /// Something works.
    pub fn good(&mut self, subject: &str, text: impl Into<String>) {
        self.add(Status::Good, subject, text.into(), None);
    }

    /// Something works, but an operator should know this.
    pub fn note(&mut self, subject: &str, text: impl Into<String>) {
        self.add(Status::Note, subject, text.into(), None);
    }

    /// Something does not work.
    pub fn failed(&mut self, subject: &str, cause: impl Into<String>, next_step: impl Into<String>) {
        self.add(Status::Failed, subject, cause.into(), Some(next_step.into()));
    }

    /// Something was not checked.
    pub fn skipped(&mut self, subject: &str, why: impl Into<String>) {
        self.add(Status::Skipped, subject, why.into(), None);
    }

    fn add(&mut self, status: Status, subject: &str, text: String, next_step: Option<String>) {
        self.findings.push(Finding { status, subject: subject.to_owned(), text, next_step });
    }

    /// Lines for the configuration of another program, printed once after the findings.
    pub fn suggest(&mut self, title: &str, text: impl Into<String>) {
        let snippet = Snippet { title: title.to_owned(), text: text.into() };
        if !self.snippets.contains(&snippet) {
            self.snippets.push(snippet);
        }
    }

    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether a check of this subject failed.
    pub fn has_failed(&self, subject: &str) -> bool {
        self.findings.iter().any(|finding| finding.subject == subject && finding.status == Status::Failed)
    }

    /// The number of failures.
    pub fn failures(&self) -> usize {
        self.findings.iter().filter(|finding| finding.status == Status::Failed).count()
    }

    /// The report for a program.
    pub fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "check": finding.check(),
                "status": finding.status.as_str().to_lowercase(),
                "subject": finding.subject,
                "text": finding.text,
                "next_step": finding.next_step,
            })
        });
        let snippets = self.snippets.iter().map(|snippet| json!({ "title": snippet.title, "text": snippet.text }));
        json!({
            "failures": self.failures(),
            "findings": findings.collect::<Vec<_>>(),
            "snippets": snippets.collect::<Vec<_>>(),
        })
    }
}

impl Finding {
    /// The name of the check for a program: it stays the same, whatever was found.
    fn check(&self) -> String {
        let check = self.subject.split(", ").next().unwrap_or_default();
        check.to_lowercase().replace([' ', '-'], "_")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}{}: {}", self.status.as_str(), self.subject, self.text)?;
        match &self.next_step {
            Some(next_step) => write!(f, "\n        next step: {next_step}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for Snippet { title, text } in &self.snippets {
            writeln!(f, "\n{title}\n")?;
            for line in text.lines() {
                writeln!(f, "{}", format!("    {line}").trim_end())?;
            }
        }
        match self.failures() {
            0 => writeln!(f, "\nno check failed"),
            1 => writeln!(f, "\n1 check failed"),
            number => writeln!(f, "\n{number} checks failed"),
        }
    }
}

/// A duration for the report.
pub fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_failure_has_a_cause_and_a_next_step_in_both_forms() {
        let mut report = Report::default();
        report.good("database", "SQLite");
        report.failed("mail relay", "mx.example:25: connection refused", "check [email] host and port");
        report.suggest("nginx:", "a;\nb;");
        report.suggest("nginx:", "a;\nb;");
        assert_eq!(
            report.to_string(),
            "ok      database: SQLite\nFAILED  mail relay: mx.example:25: connection refused\n        next step: check \
             [email] host and port\n\nnginx:\n\n    a;\n    b;\n\n1 check failed\n"
        );
        let json = report.to_json();
        assert_eq!((json["failures"].as_u64(), json["findings"][1]["status"].as_str()), (Some(1), Some("failed")));
        assert_eq!(json["findings"][1]["check"], "mail_relay");
        assert_eq!(json["snippets"].as_array().map(Vec::len), Some(1));
        assert!(report.has_failed("mail relay") && !report.has_failed("database"));
    }
}
