//! What the connections of a gateway share with the test.
//!
//! Invariant: the newest fault meets a request, and a spent one meets none; every request is judged, also under a fault.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exchange::{Reply, Request};
use super::fault::{Fault, Pace};
use super::{Sms, Vendor};

/// Where [`Fault::Redirect`] leads.
const MOVED: &str = "/moved";

#[derive(Debug)]
pub(super) struct World {
    pub(super) vendor: Vendor,
    pub(super) address: SocketAddr,
    pub(super) base: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) requests: Vec<Request>,
    pub(super) accepted: Vec<Sms>,
    pub(super) complaints: Vec<String>,
    /// With how many requests each will still meet; without a number it meets all.
    pub(super) faults: Vec<(Fault, Option<usize>)>,
    /// What is answered to a message that was taken, instead of the vendor's own words.
    pub(super) success: Option<Reply>,
}

/// What becomes of a request.
pub(super) enum Act {
    Answer(Reply, Pace),
    Silence,
    Reset,
}

impl World {
    pub(super) fn new(vendor: Vendor, address: SocketAddr, base: String) -> Self {
        Self { vendor, address, base, state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    /// If the vendor knows no such error, or the status is no failure.
    pub(super) fn add_fault(&self, fault: Fault, left: Option<usize>) {
        match fault {
            Fault::Error(code) => assert!(self.vendor.error(code).is_some(), "{:?} has no error {code}", self.vendor),
            Fault::Status(status) => assert!((300..=999).contains(&status), "{status} is no failure"),
            _ => {}
        }
        self.state().faults.push((fault, left));
    }

    /// Judges `request`, keeps what is to be known of it, and says what becomes of it.
    pub(super) fn act(&self, request: Request) -> Act {
        if request.path() == MOVED {
            let mut state = self.state();
            state.complaints.push(format!("a redirect was followed: {} {}", request.method, request.target));
            state.requests.push(request);
            return Act::Answer(self.vendor.status(404), Pace::Whole);
        }
        let mut complaints = Vec::new();
        let judgement = self.vendor.judge(&request, &self.base, &mut complaints);
        complaints.extend(judgement.as_ref().err().map(|refusal| refusal.complaint.clone()));

        let mut state = self.state();
        state.requests.push(request);
        state.complaints.extend(complaints);
        let fault = state.next_fault();
        if let Some(act) = fault.as_ref().and_then(|fault| self.instead(fault)) {
            return act;
        }
        let (sms, reply) = match judgement {
            Ok((sms, reply)) => (sms, state.success.clone().unwrap_or(reply)),
            Err(refusal) => return Act::Answer(refusal.reply, Pace::Whole),
        };
        state.accepted.push(sms);
        match fault {
            Some(Fault::AcceptAndHang) => Act::Silence,
            Some(Fault::AcceptAndReset) => Act::Reset,
            Some(Fault::Drip) => Act::Answer(reply, Pace::Drip),
            Some(Fault::TruncatedBody) => Act::Answer(reply, Pace::BreakOff),
            _ => Act::Answer(reply, Pace::Whole),
        }
    }

    /// What happens under a fault that takes no message; nothing under the others.
    fn instead(&self, fault: &Fault) -> Option<Act> {
        let page = "<!DOCTYPE html><html lang=en><title>Welcome</title><p>Please log in to go on.</html>";
        let reply = match fault {
            Fault::Status(status) => self.vendor.status(*status),
            Fault::Error(code) => self.vendor.error(code).expect("it was known when the fault was set"),
            Fault::RetryAfter(seconds) => self.vendor.status(429).with_header("retry-after", seconds.to_string()),
            Fault::Garbage => Reply::new(200, "text/html; charset=utf-8", page),
            Fault::Redirect => {
                Reply::new(307, "text/html", "").with_header("location", format!("{}{MOVED}", self.base))
            }
            Fault::Hang => return Some(Act::Silence),
            Fault::Reset => return Some(Act::Reset),
            Fault::AcceptAndHang | Fault::AcceptAndReset | Fault::Drip | Fault::TruncatedBody => return None,
            Fault::ResetBeforeReading => return None,
        };
        Some(Act::Answer(reply, Pace::Whole))
    }
}

impl State {
    /// Whether what comes now is to be reset unread; spends the fault.
    pub(super) fn resets_before_reading(&mut self) -> bool {
        let newest = self.faults.iter().rfind(|(_, left)| *left != Some(0));
        newest.is_some_and(|(fault, _)| *fault == Fault::ResetBeforeReading) && self.next_fault().is_some()
    }

    fn next_fault(&mut self) -> Option<Fault> {
        let (fault, left) = self.faults.iter_mut().rfind(|(_, left)| *left != Some(0))?;
        *left = left.map(|left| left - 1);
        Some(fault.clone())
    }
}
