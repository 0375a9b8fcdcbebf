//! A headless Chromium, driven by the DevTools protocol over a pipe.
//!
//! Invariant: it has a profile of its own, and ends with its [`Browser`].

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::skipped;

const PROGRAMS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const DEADLINE: Duration = Duration::from_secs(30);

/// The shell gives the browser its two ends of the pipe: standard input as 3, standard output as 4.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 >/dev/null 2>&1"#;

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    last_id: u64,
    _profile: TempDir,
}

/// An open page.
#[derive(Clone, Debug)]
pub struct Page(String);

impl Browser {
    /// Starts one. `None`, and the test counts as skipped, where Chromium is not installed.
    ///
    /// # Panics
    /// If it does not start; with `CI=true` also without Chromium.
    pub fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.iter().find(|program| Path::new(program).exists()) else {
            skipped::test("Chromium (package chromium)");
            return None;
        };
        let profile = TempDir::new().expect("a folder for the profile");
        let mut process = Command::new("sh")
            .args(["-c", START, program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--mute-audio"])
            .args(["--hide-scrollbars", "--disable-dev-shm-usage", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Chromium starts");
        let commands = process.stdin.take().expect("its input is a pipe");
        let mut output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let message = serde_json::from_slice(&std::mem::take(&mut message)).expect("DevTools write JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Some(Self { process, commands, messages, events: VecDeque::new(), last_id: 0, _profile: profile })
    }

    /// Sends a command for the whole browser, and returns its result.
    ///
    /// # Panics
    /// If the browser refuses it.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn command(&mut self, method: &str, params: Value) -> Value {
        self.send(json!({ "method": method, "params": params }))
    }

    /// Sends a command for `page`, and returns its result.
    ///
    /// # Panics
    /// If the browser refuses it.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn page_command(&mut self, page: &Page, method: &str, params: Value) -> Value {
        self.send(json!({ "method": method, "params": params, "sessionId": page.0 }))
    }

    fn send(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        write!(self.commands, "{command}\0").expect("the browser runs");
        loop {
            let message = self.messages.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{command}: {error}"));
            if message["id"] != self.last_id {
                self.events.push_back(message);
                continue;
            }
            assert!(message["error"].is_null(), "{command}: {message}");
            return message["result"].clone();
        }
    }

    /// The parameters of the next event of this name that `is_wanted`.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn event(&mut self, method: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let position =
                self.events.iter().position(|event| event["method"] == method && is_wanted(&event["params"]));
            if let Some(mut event) = position.and_then(|position| self.events.remove(position)) {
                return event["params"].take();
            }
            let rest = end.saturating_duration_since(Instant::now());
            self.events.push_back(self.messages.recv_timeout(rest).unwrap_or_else(|error| panic!("{method}: {error}")));
        }
    }

    /// Opens a page and waits until it has loaded.
    ///
    /// # Panics
    /// If it does not load.
    pub fn open(&mut self, url: &str) -> Page {
        let target = self.command("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].take();
        let session = self.command("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        let page = Page(session["sessionId"].as_str().expect("a session").to_owned());
        self.page_command(&page, "Page.enable", json!({}));
        self.navigate(&page, url);
        page
    }

    /// Loads another URL in `page`.
    ///
    /// # Panics
    /// If it does not load.
    pub fn navigate(&mut self, page: &Page, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired" || event["sessionId"] != page.0);
        let result = self.page_command(page, "Page.navigate", json!({ "url": url }));
        assert!(result["errorText"].is_null(), "{url}: {result}");
        self.event("Page.loadEventFired", |_| true);
    }

    /// The value of a JavaScript expression in `page`; a promise is awaited.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, page: &Page, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.page_command(page, "Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// The page as it looks, as PNG.
    ///
    /// # Panics
    /// If the browser cannot draw it.
    pub fn screenshot(&mut self, page: &Page) -> Vec<u8> {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let result = self.page_command(page, "Page.captureScreenshot", params);
        STANDARD.decode(result["data"].as_str().expect("an image")).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
