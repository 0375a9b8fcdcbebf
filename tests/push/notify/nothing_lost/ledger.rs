//! The requests that the push services received, by event.
//!
//! Invariant: it contains only the requests to the push services and their responses, never the gateway's view.

use harness::push_service::PushService;
use harness::world::push::World;
use std::collections::{BTreeMap, HashMap};

use super::plan::{Event, Plan, Service};
use super::pusher::Report;

/// A request that reached a push service.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// Its position in the order of arrival.
    place: usize,
    is_accepted: bool,
    was_answered: bool,
}

/// All requests.
pub(super) struct Ledger(BTreeMap<Event, Vec<Arrival>>);

impl Ledger {
    /// The requests for the events of `plan` that the push services of `world` received.
    pub(super) fn of(world: &World, service: &PushService, plan: &Plan) -> Self {
        let mut ledger: BTreeMap<Event, Vec<Arrival>> = BTreeMap::new();
        let mut note = |event: Option<Event>, arrival: Arrival| {
            let event = event.expect("nothing but events of the plan was pushed");
            ledger.entry(event).or_default().push(arrival);
        };
        for (place, request) in world.apple.requests().iter().enumerate() {
            let event = plan.event(request.device(), &request.json());
            note(event, Arrival { place, is_accepted: request.is_accepted, was_answered: request.was_answered() });
        }
        for (place, request) in world.google.messages().iter().enumerate() {
            let event = request.pushkey().and_then(|pushkey| plan.event(&pushkey, &request.json()["message"]["data"]));
            note(event, Arrival { place, is_accepted: request.is_accepted, was_answered: request.was_answered() });
        }
        let opener = service.opener();
        for (place, request) in service.requests().iter().enumerate() {
            let event = plan.endpoint_event(request, &opener);
            note(event, Arrival { place, is_accepted: request.is_accepted, was_answered: request.was_answered() });
        }
        Self(ledger)
    }

    /// The number of requests.
    pub(super) fn arrivals(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// How often an event was accepted again.
    pub(super) fn duplicates(&self) -> usize {
        self.0.values().map(|arrivals| accepted(arrivals).count().saturating_sub(1)).sum()
    }

    /// How often an event was accepted but its response did not reach the gateway.
    pub(super) fn lost_answers(&self) -> usize {
        self.0.values().map(|arrivals| accepted(arrivals).filter(|arrival| !arrival.was_answered).count()).sum()
    }

    /// The gateway's errors.
    pub(super) fn violations(&self, report: &Report) -> Vec<String> {
        let mut violations = Vec::new();
        for event in &report.delivered {
            if accepted(self.arrivals_of(event)).next().is_none() {
                violations.push(format!("{event:?} is lost: no push service has it"));
            }
        }
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (event, arrivals) in &self.0 {
            let accepted: Vec<&Arrival> = accepted(arrivals).collect();
            // All but the last were sent again, which is right only without a response.
            let doubled = accepted.iter().rev().skip(1).filter(|arrival| arrival.was_answered).count();
            if doubled > 0 {
                violations.push(format!("{event:?} was sent again although its acceptance was answered: {arrivals:?}"));
            }
            // Synapse sends the next event after the response to this one: it must have been accepted by then.
            if let (Some(before), Some(first)) = (last.get(&event.pusher), arrivals.first())
                && first.place < *before
            {
                violations.push(format!("{event:?} was sent before the one before it was accepted: {arrivals:?}"));
            }
            last.extend(accepted.first().map(|arrival| (event.pusher, arrival.place)));
        }
        violations
    }

    /// The same of one push service.
    pub(super) fn of_service(&self, service: Service) -> Self {
        let of_service = self.0.iter().filter(|(event, _)| Plan::service(event.pusher) == service);
        Self(of_service.map(|(event, arrivals)| (*event, arrivals.clone())).collect())
    }

    fn arrivals_of(&self, event: &Event) -> &[Arrival] {
        self.0.get(event).map_or(&[], Vec::as_slice)
    }
}

fn accepted(arrivals: &[Arrival]) -> impl Iterator<Item = &Arrival> {
    arrivals.iter().filter(|arrival| arrival.is_accepted)
}
