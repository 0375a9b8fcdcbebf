//! What the connections of a vendor share with the test.
//!
//! Invariant: the newest fault meets a request, and the vendor checks every request, also under a fault.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault::Fault;
use super::{Sms, Vendor};
use crate::fake::{Faults, Reaction, Recorded, Reply, Service};

/// The path to which [`Fault::Redirect`] leads.
const MOVED: &str = "/moved";

/// The time between two bytes of [`Fault::Drip`].
const DRIP: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct World {
    pub(super) vendor: Vendor,
    pub(super) base: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accepted: Vec<Sms>,
    pub(super) complaints: Vec<String>,
    pub(super) faults: Faults<(), Fault>,
    /// The response to an accepted message, instead of the vendor's own.
    pub(super) success: Option<Reply>,
}

impl World {
    pub(super) fn new(vendor: Vendor, address: SocketAddr, scheme: &str) -> Self {
        Self { vendor, base: format!("{scheme}://{address}"), state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    /// If the vendor has no such error, or the status is a success.
    pub(super) fn add_fault(&self, fault: Fault, times: Option<usize>) {
        match fault {
            Fault::Error(code) => assert!(self.vendor.error(code).is_some(), "{:?} has no error {code}", self.vendor),
            Fault::Status(status) => assert!((300..=999).contains(&status), "{status} is a success"),
            _ => {}
        }
        self.state().faults.add((), fault, times);
    }

    /// The reaction under a fault that accepts no message; none under the others.
    fn reject(&self, fault: &Fault) -> Option<Reaction> {
        let page = "<!DOCTYPE html><html lang=en><title>Welcome</title><p>Please log in to go on.</html>";
        let reply = match fault {
            Fault::Status(status) => self.vendor.status(*status),
            Fault::Error(code) => self.vendor.error(code).expect("add_fault checked the code"),
            Fault::RetryAfter(seconds) => self.vendor.status(429).with_header("retry-after", seconds.to_string()),
            Fault::Garbage => Reply::of_type(200, "text/html; charset=utf-8", page),
            Fault::Redirect => {
                Reply::of_type(307, "text/html", "").with_header("location", format!("{}{MOVED}", self.base))
            }
            Fault::Hang => return Some(Reaction::Silence),
            Fault::Reset => return Some(Reaction::ResetConnection),
            Fault::AcceptAndHang | Fault::AcceptAndReset | Fault::Drip | Fault::TruncatedBody => return None,
            Fault::ResetBeforeReading => return None,
        };
        Some(Reaction::Reply(reply))
    }
}

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        if request.path() == MOVED {
            let complaint = format!("the client followed a redirect: {} {}", request.method, request.target);
            self.state().complaints.push(complaint);
            return Reaction::Reply(self.vendor.status(404));
        }
        let mut complaints = Vec::new();
        let judgement = self.vendor.judge(&request, &self.base, &mut complaints);
        complaints.extend(judgement.as_ref().err().map(|refusal| refusal.complaint.clone()));

        let mut state = self.state();
        state.complaints.extend(complaints);
        let fault = state.faults.next(|()| true);
        if let Some(reaction) = fault.as_ref().and_then(|fault| self.reject(fault)) {
            return reaction;
        }
        let (sms, reply) = match judgement {
            Ok((sms, reply)) => (sms, state.success.clone().unwrap_or(reply)),
            Err(refusal) => return Reaction::Reply(refusal.reply),
        };
        state.accepted.push(sms);
        match fault {
            Some(Fault::AcceptAndHang) => Reaction::Silence,
            Some(Fault::AcceptAndReset) => Reaction::ResetConnection,
            Some(Fault::Drip) => Reaction::Reply(reply.dripping(DRIP)),
            Some(Fault::TruncatedBody) => Reaction::Reply(reply.halved()),
            _ => Reaction::Reply(reply),
        }
    }

    fn resets_unread(&self) -> bool {
        let mut state = self.state();
        let resets = state.faults.peek(|()| true) == Some(&Fault::ResetBeforeReading);
        resets && state.faults.next(|()| true).is_some()
    }
}
