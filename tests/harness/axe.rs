//! axe-core, the accessibility checker of Deque: its script, run in a page of [`Browser`].
//!
//! Invariant: only violations that are certain count; what a person has to judge does not.

use std::process::Command;

use crate::browser::{Browser, Page};
use crate::skipped;

/// Print the path of the script: from npm (`axe-core`) and from pip (`axe-playwright-python`), which has the same file.
const FINDERS: [(&str, [&str; 2]); 2] = [
    (
        "python3",
        [
            "-c",
            "import importlib.util as u; print(u.find_spec('axe_playwright_python').submodule_search_locations[0] + '/axe.min.js')",
        ],
    ),
    ("node", ["-p", "require.resolve('axe-core/axe.min.js')"]),
];

const RUN: &str = "axe.run().then(result => result.violations.map(violation =>
    violation.id + ': ' + violation.help + ': ' + violation.nodes.map(node => node.html).join(' | ')))";

/// The script of axe-core.
#[derive(Debug)]
pub struct Axe(String);

impl Axe {
    /// Finds the script. `None`, and the test counts as skipped, where axe-core is not installed.
    ///
    /// # Panics
    /// With `CI=true` without axe-core.
    pub fn find() -> Option<Self> {
        let script = FINDERS.iter().find_map(|(program, arguments)| {
            let output = Command::new(program).args(arguments).output().ok()?;
            std::fs::read_to_string(String::from_utf8(output.stdout).ok()?.trim()).ok()
        });
        if script.is_none() {
            skipped::test("axe-core (npm install axe-core, or pip install --no-deps axe-playwright-python)");
        }
        script.map(Self)
    }

    /// The violations in `page`, one line each.
    ///
    /// # Panics
    /// If the script fails.
    pub fn violations(&self, browser: &mut Browser, page: &Page) -> Vec<String> {
        browser.evaluate(page, &format!("{};0", self.0));
        let found = browser.evaluate(page, RUN);
        let found = found.as_array().expect("a list");
        found.iter().map(|line| line.as_str().expect("a text").to_owned()).collect()
    }
}
