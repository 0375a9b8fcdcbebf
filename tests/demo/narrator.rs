//! The output of the demo: prose, requests with their responses, and checks.
//!
//! Invariant: colours appear only on a terminal; other output is the same from run to run but for random values.

use std::io::{self, IsTerminal, Write};

use harness::api::{Answer, Call};
use harness::process::Server;
use harness::transcript;
use serde_json::Value;

/// The reason why a story stops.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// Writes the stories, and counts steps, requests and checks.
pub(crate) struct Narrator {
    out: Box<dyn Write + Send>,
    colours: bool,
    step: &'static str,
    steps: usize,
    requests: usize,
    checks: usize,
}

/// The style of a text on a terminal.
#[derive(Clone, Copy)]
enum Look {
    Heading,
    Faint,
    Request,
    Good,
    Refusal,
    Bad,
}

impl Narrator {
    /// Writes to standard output.
    pub(crate) fn to_stdout() -> Self {
        // <https://no-color.org>
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::to(Box::new(io::stdout()), wanted && io::stdout().is_terminal())
    }

    fn to(out: Box<dyn Write + Send>, colours: bool) -> Self {
        Self { out, colours, step: "", steps: 0, requests: 0, checks: 0 }
    }

    /// Begins a step: its name, which a failure repeats, and one or two lines of prose.
    pub(crate) fn step(&mut self, name: &'static str, prose: &str) {
        self.step = name;
        self.steps += 1;
        let heading = self.looks(Look::Heading, &format!("{}. {name}", self.steps));
        self.write(&format!("\n{heading}\n"));
        self.say(prose);
    }

    /// One or more lines of prose.
    pub(crate) fn say(&mut self, prose: &str) {
        for line in prose.lines() {
            self.write(format!("   {line}").trim_end());
            self.write("\n");
        }
    }

    /// A verbatim text: a file, a mail.
    pub(crate) fn show(&mut self, text: &str) {
        for line in text.lines() {
            let line = if line.is_empty() { String::new() } else { self.looks(Look::Faint, &format!("     {line}")) };
            self.write(&format!("{line}\n"));
        }
    }

    /// Shows the settings of a service that has started, and its first log lines.
    ///
    /// # Panics
    /// If its settings cannot be read.
    pub(crate) fn show_start(&mut self, server: &Server) {
        let config = std::fs::read_to_string(server.folder().join("config.toml")).expect("the settings");
        self.show(&config);
        self.say("Its log:");
        self.show(&server.logs());
    }

    /// Sends a request, shows it with its response, and returns the JSON of the response.
    ///
    /// # Errors
    /// [`Failure`] if the response has another status than `status`.
    pub(crate) async fn ask(&mut self, call: Call, status: u16) -> Result<Value, Failure> {
        let answer = self.exchange(call).await;
        self.write(&transcript::body("     ", &answer.body));
        self.is(answer.code() == status, || {
            format!("the response to {} has status {}, not {status}", answer.path, answer.code())
        })?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| Failure(format!("the response to {} is not JSON", answer.path)))
    }

    /// Like [`Narrator::ask`], for a request that must be rejected with this `errcode`.
    ///
    /// # Errors
    /// [`Failure`] if it is not.
    pub(crate) async fn refused(&mut self, call: Call, status: u16, errcode: &str) -> Result<(), Failure> {
        let body = self.ask(call, status).await?;
        self.is(body["errcode"] == errcode, || format!("the errcode is {}, not {errcode}", body["errcode"]))
    }

    /// Like [`Narrator::ask`], for a response without a body.
    ///
    /// # Errors
    /// [`Failure`] for another status.
    pub(crate) async fn done(&mut self, call: Call, status: u16) -> Result<(), Failure> {
        let answer = self.exchange(call).await;
        self.write(&transcript::body("     ", &answer.body));
        self.is(answer.code() == status, || {
            format!("the response to {} has status {}, not {status}", answer.path, answer.code())
        })
    }

    /// Like [`Narrator::ask`], for a page; shows and returns only its title.
    ///
    /// # Errors
    /// [`Failure`] for another status, or a page without a title.
    pub(crate) async fn open(&mut self, call: Call, status: u16) -> Result<String, Failure> {
        let answer = self.exchange(call).await;
        let text = answer.text();
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        let title = title.map(|(title, _)| title.to_owned()).ok_or_else(|| Failure("the page has no title".to_owned()));
        let page = format!("a page with the title \"{}\"", title.as_deref().unwrap_or_default());
        self.show(&page);
        self.is(answer.code() == status, || format!("the page has status {}, not {status}", answer.code()))?;
        title
    }

    /// Checks `what`, and shows it.
    ///
    /// # Errors
    /// [`Failure`] if it does not.
    pub(crate) fn check(&mut self, what: &str, holds: bool) -> Result<(), Failure> {
        self.is(holds, || format!("the check failed: {what}"))?;
        let mark = self.looks(Look::Good, "✓");
        self.write(&format!("   {mark} {what}\n"));
        Ok(())
    }

    /// The last line of a demo that succeeded.
    pub(crate) fn all_is_well(&mut self) {
        let Self { steps, requests, checks, .. } = *self;
        let text = format!("All is well: {steps} steps, {requests} requests, {checks} checks.");
        let text = self.looks(Look::Good, &text);
        self.write(&format!("\n{text}\n"));
    }

    /// The last lines of a demo that failed.
    pub(crate) fn failed(&mut self, Failure(why): &Failure) {
        let text = self.looks(Look::Bad, &format!("Step {} failed: {}", self.steps, self.step));
        self.write(&format!("\n{text}\n"));
        self.say(why);
    }

    async fn exchange(&mut self, call: Call) -> Answer {
        let authorization = call.header_value("authorization").map(str::to_owned);
        let answer = call.send().await;
        self.requests += 1;
        let arrow = self.looks(Look::Request, &format!("→ {} {}", answer.method, answer.path));
        self.write(&format!("   {arrow}\n"));
        self.show(&authorization.map(|value| format!("Authorization: {value}")).unwrap_or_default());
        self.write(&transcript::body("     ", &answer.sent));
        let look = if answer.status.is_success() { Look::Good } else { Look::Refusal };
        let arrow = self.looks(look, &format!("← {}", answer.status));
        self.write(&format!("   {arrow}\n"));
        answer
    }

    fn is(&mut self, holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
        self.checks += 1;
        if holds { Ok(()) } else { Err(Failure(otherwise())) }
    }

    fn looks(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Heading => "1",
            Look::Faint => "2",
            Look::Request => "36",
            Look::Good => "32",
            Look::Refusal => "33",
            Look::Bad => "1;31",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&mut self, text: &str) {
        // The stories continue to their end after the output is closed.
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use harness::api::Api;
    use harness::homeserver::Homeserver;
    use serde_json::json;

    use super::{Failure, Narrator};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn narrator(colours: bool) -> (Narrator, impl Fn() -> String) {
        let paper = Paper::default();
        let narrator = Narrator::to(Box::new(paper.clone()), colours);
        (narrator, move || String::from_utf8(paper.0.lock().unwrap().clone()).unwrap())
    }

    #[tokio::test]
    async fn every_exchange_is_shown_and_a_wrong_one_is_a_failure() {
        let server = Homeserver::start("127.0.0.1").await;
        let api = Api::trusting(&format!("https://{}", server.address()), &server.authority().pem());
        let (mut narrator, output) = narrator(false);
        narrator.step("The server is unknown", "A line.\nAnother one.");
        narrator.refused(api.post("/nowhere", json!({"a": 1})), 404, "M_UNRECOGNIZED").await.unwrap();
        assert_eq!(
            output(),
            "\n1. The server is unknown\n   A line.\n   Another one.\n   → POST /nowhere\n     {\n       \"a\": 1\n     }\n   \
             ← 404 Not Found\n     {\n       \"errcode\": \"M_UNRECOGNIZED\",\n       \
             \"error\": \"Unrecognized request\"\n     }\n"
        );
        let Failure(why) = narrator.ask(api.get("/nowhere"), 200).await.unwrap_err();
        assert_eq!(why, "the response to /nowhere has status 404, not 200");
        let Failure(why) = narrator.refused(api.get("/nowhere"), 404, "M_NOT_FOUND").await.unwrap_err();
        assert_eq!(why, "the errcode is \"M_UNRECOGNIZED\", not M_NOT_FOUND");
        let Failure(why) = narrator.open(api.get("/nowhere"), 404).await.unwrap_err();
        assert_eq!(why, "the page has no title");
        narrator.failed(&Failure(why));
        assert!(
            output().ends_with("\nStep 1 failed: The server is unknown\n   the page has no title\n"),
            "{}",
            output()
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let (mut plain, output) = narrator(false);
        plain.check("one is one", true).unwrap();
        assert_eq!(output(), "   ✓ one is one\n");
        let (mut coloured, output) = narrator(true);
        coloured.check("one is one", true).unwrap();
        assert_eq!(output(), "   \x1b[32m✓\x1b[0m one is one\n");
        let Failure(why) = coloured.check("one is two", false).unwrap_err();
        assert_eq!(why, "the check failed: one is two");
    }
}
