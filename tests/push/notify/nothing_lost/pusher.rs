//! A pusher as in Synapse: strictly one request at a time, and a retry after any response but a complete 200, with
//! growing backoff.
//!
//! Invariant: an event is finished only by a response of the gateway; a pusher whose pushkey is rejected ends.

use harness::world::push::{NOTIFY, message_body};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness::api::Api;
use serde_json::json;

use super::plan::{self, Event, Plan};

/// The wait after the first failure, doubled with each further one: a fiftieth of Synapse's.
const FIRST_WAIT: Duration = Duration::from_millis(20);

const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A pusher.
pub(super) struct Pusher {
    number: usize,
    plan: Arc<Plan>,
    api: Api,
}

/// The responses that pushers received.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Requests by the status of their response; 0 if the homeserver closed the connection or got no complete response.
    pub(super) answers: BTreeMap<u16, usize>,
    /// Events that the gateway reported as delivered.
    pub(super) delivered: Vec<Event>,
    /// Events with which the pushkey was rejected.
    pub(super) rejected: Vec<Event>,
    /// Responses that no homeserver would understand.
    pub(super) strange: Vec<String>,
}

impl Pusher {
    pub(super) fn new(number: usize, plan: Arc<Plan>, api: Api) -> Self {
        Self { number, plan, api }
    }

    /// Posts every event until it is finished.
    pub(super) async fn run(self) -> Report {
        let mut report = Report::default();
        let (lived, death) = self.plan.events(self.number);
        for event in lived.into_iter().chain(death) {
            if self.push(event, &mut report).await {
                report.delivered.push(event);
            } else {
                report.rejected.push(event);
                break;
            }
        }
        report
    }

    /// Whether the event was delivered; else the pushkey was rejected.
    async fn push(&self, event: Event, report: &mut Report) -> bool {
        let mut wait = FIRST_WAIT;
        let body = message_body(&self.plan.event_id(event), plan::devices(&self.plan, event.pusher));
        let request = match self.plan.subscription(self.number) {
            Some(subscription) => subscription.request(&self.api, &body["notification"]),
            None => self.api.post(NOTIFY, body),
        };
        for tries in 1.. {
            let sent = request.clone().try_send();
            let answer = match self.plan.patience(event, tries) {
                Some(patience) => tokio::time::timeout(patience, sent).await.ok().and_then(Result::ok),
                None => sent.await.ok(),
            };
            *report.answers.entry(answer.as_ref().map_or(0, harness::api::Answer::code)).or_default() += 1;
            if let Some(answer) = answer {
                let is_relayed = self.plan.subscription(self.number).is_some();
                match answer.code() {
                    201 if is_relayed => return true,
                    404 | 410 if is_relayed => return false,
                    200 if answer.json() == json!({ "rejected": [] }) => return true,
                    200 if answer.json() == json!({ "rejected": [self.plan.pushkey(self.number)] }) => return false,
                    502 | 503 | 429 => {}
                    _ => report.strange.push(answer.to_string()),
                }
            }
            tokio::time::sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
        unreachable!("there is no last try")
    }
}

impl Report {
    /// Adds the responses of another pusher.
    pub(super) fn with(mut self, other: Self) -> Self {
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        self.delivered.extend(other.delivered);
        self.rejected.extend(other.rejected);
        self.strange.extend(other.strange);
        self
    }

    /// The gateway's wrong responses.
    pub(super) fn violations(&self, plan: &Plan) -> Vec<String> {
        let mut violations = self.strange.clone();
        let (mut lived, mut died) = (Vec::new(), Vec::new());
        for pusher in 0..plan.pushers() {
            let (events, death) = plan.events(pusher);
            lived.extend(events);
            died.extend(death);
        }
        for (what, said, truth) in [("delivered", &self.delivered, &mut lived), ("rejected", &self.rejected, &mut died)]
        {
            let mut said = said.clone();
            said.sort();
            truth.sort();
            violations.extend(
                said.iter()
                    .filter(|event| truth.binary_search(event).is_err())
                    .map(|event| format!("{event:?} was said to be {what}")),
            );
            violations.extend(
                truth
                    .iter()
                    .filter(|event| said.binary_search(event).is_err())
                    .map(|event| format!("{event:?} was never said to be {what}")),
            );
        }
        violations
    }
}
