//! What the connections of the fake APNs share with the test, and its reaction to a request.
//!
//! Invariant: a push is accepted only if no GOAWAY has left out its stream before.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::clock::Clock;

use super::checks::{self, Refusal};
use super::fault::Fault;
use super::provider_token::ProviderKey;
use crate::fake::{Faults, Reaction, Recorded, Reply, Request, Service};

#[derive(Debug)]
pub(super) struct World {
    pub(super) authority: String,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) key: ProviderKey,
    pub(super) by_certificate: bool,
    pub(super) topics: Vec<String>,
    pub(super) unknown: Vec<String>,
    pub(super) max_streams: u32,
    /// By the start of the device's token.
    pub(super) faults: Faults<String, Fault>,
}

impl World {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checks of APNs.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        if request.authority != self.authority {
            return Err((421, "MisdirectedRequest"));
        }
        let device = checks::device(request)?;
        let mut state = self.state();
        let now = state.clock.now();
        if !state.by_certificate {
            state.key.check(&request.headers, now)?;
        }
        checks::headers(&request.headers, &state.topics)?;
        checks::body(&request.body, &request.headers)?;
        if state.unknown.iter().any(|unknown| unknown == device) { Err((400, "BadDeviceToken")) } else { Ok(()) }
    }

    /// The right response.
    fn answer(&self, request: &Recorded<'_>) -> Reaction {
        match self.check(request) {
            Ok(()) if !accept(request) => Reaction::LeftOut,
            Ok(()) => {
                let max_streams = self.state().max_streams;
                if request.over.wire.limit.load(Ordering::SeqCst) == 1 && max_streams != 1 {
                    request.over.announce_streams(max_streams);
                }
                respond(request, Reply::new(200, ""), true)
            }
            Err((status, reason)) => match Fault::error(status, reason) {
                Fault::Reply { reply, with_id } => respond(request, reply, with_id),
                other => unreachable!("{other:?} is no response"),
            },
        }
    }
}

impl Service for World {
    const ENDS_WITH_THE_STREAM: bool = true;

    async fn react(&self, request: Recorded<'_>) -> Reaction {
        let fault = self.state().faults.next_or_direct(&request, |start| request.device().starts_with(start));
        match fault {
            Some(Fault::Silence) => Reaction::Silence,
            Some(Fault::Reset(code)) => Reaction::ResetStream(code),
            Some(Fault::Cut) => Reaction::Close,
            Some(Fault::Lose(loss)) if self.check(&request).is_ok() && accept(&request) => loss.into(),
            Some(Fault::GoAway { reason, two_phase }) => {
                if two_phase {
                    request.over.announce_end(reason).await;
                }
                if request.stream > request.over.leave_out(request.stream, reason) {
                    return Reaction::LeftOut;
                }
                // A later stream was processed before.
                self.answer(&request)
            }
            Some(Fault::Reply { reply, with_id }) => {
                if reply.status == 200 && !accept(&request) {
                    return Reaction::LeftOut;
                }
                respond(&request, reply, with_id)
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.answer(&request)
            }
            Some(Fault::Lose(_)) | None => self.answer(&request),
        }
    }
}

/// Accepts a push, unless a GOAWAY has left out its stream.
fn accept(request: &Recorded<'_>) -> bool {
    let is_accepted = request.over.process(request.stream);
    if is_accepted {
        request.accept();
    }
    is_accepted
}

fn respond(request: &Recorded<'_>, reply: Reply, with_id: bool) -> Reaction {
    request.note_status(reply.status);
    match request.header("apns-id").filter(|_| with_id) {
        Some(id) => Reaction::Reply(reply.with_header("apns-id", id)),
        None => Reaction::Reply(reply),
    }
}
