//! The faults that a test has set, and which of them meets a request.
//!
//! Invariant: the newest fault that matches meets the request; a fault whose count is used up matches nothing.

use super::Request;

/// A function of the test that decides about each request.
type Direct<F> = Box<dyn FnMut(&Request) -> Option<F> + Send>;

/// Faults, each with the requests that it matches: a path, a device, a kind of request.
pub(crate) struct Faults<M, F> {
    rules: Vec<Rule<M, F>>,
    director: Option<Direct<F>>,
}

#[derive(Debug)]
struct Rule<M, F> {
    matches: M,
    fault: F,
    /// For how many more requests; `None` means for all.
    left: Option<usize>,
}

impl<M, F: Clone> Faults<M, F> {
    pub(crate) fn add(&mut self, matches: M, fault: F, times: Option<usize>) {
        self.rules.push(Rule { matches, fault, left: times });
    }

    /// Lets `director` decide about requests that no fault matches.
    pub(crate) fn set_director(&mut self, director: impl FnMut(&Request) -> Option<F> + Send + 'static) {
        self.director = Some(Box::new(director));
    }

    /// Removes every fault and the director.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.director = None;
    }

    /// The newest fault that `is_match` accepts.
    pub(crate) fn peek(&self, is_match: impl Fn(&M) -> bool) -> Option<&F> {
        self.rules.iter().rfind(|rule| rule.left != Some(0) && is_match(&rule.matches)).map(|rule| &rule.fault)
    }

    /// As [`Faults::peek`], and counts the fault.
    pub(crate) fn next(&mut self, is_match: impl Fn(&M) -> bool) -> Option<F> {
        let rule = self.rules.iter_mut().rfind(|rule| rule.left != Some(0) && is_match(&rule.matches))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    /// As [`Faults::next`]; the director decides if no fault matches.
    pub(crate) fn next_or_direct(&mut self, request: &Request, is_match: impl Fn(&M) -> bool) -> Option<F> {
        self.next(is_match).or_else(|| self.director.as_mut().and_then(|director| director(request)))
    }
}

impl<M, F> Default for Faults<M, F> {
    fn default() -> Self {
        Self { rules: Vec::new(), director: None }
    }
}

impl<M: std::fmt::Debug, F: std::fmt::Debug> std::fmt::Debug for Faults<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("rules", &self.rules).finish_non_exhaustive()
    }
}
