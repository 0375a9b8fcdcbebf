//! The plan of a run: the pushers, which pushkeys expire and when, and which attempt gets which fault.
//!
//! Invariant: everything but the outages follows from the seed, the event and the number of the attempt; the order of
//! the attempts has no effect.

use harness::push_service::{Opener, PushService, Request};
use harness::world::push::{World, android_device, ios_device};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::faults::{self, Kind};
use super::relayed::Subscription;
use super::{UNIFIED, WEB};

/// One pusher in this number has a pushkey that expires; an odd number, so that all push services have some.
const DEATHS: usize = 13;

/// From this attempt at an event on, no fault occurs.
const LAST_FAULT: u32 = 6;

/// How long a push service is down, once in a run: shorter than the circuit breaker stays open after it.
const OUTAGE: Duration = Duration::from_secs(3);

/// The accounts on each phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accounts {
    /// One: a pushkey belongs to one pusher.
    One,
    /// Two, where neither pushkey expires: app and pushkey are equal, and only a secret in `default_payload` differs.
    Two,
}

/// The faults after which the gateway leaves the secret of an account out.
const REDUCING: [&str; 2] = ["413", "400 payload"];

/// A pusher's push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Service {
    Apple,
    Google,
    /// Web Push.
    Browser,
    /// UnifiedPush.
    Distributor,
    /// APNs, through the relay.
    Relay,
}

impl Service {
    pub(super) const ALL: [Self; 5] = [Self::Apple, Self::Google, Self::Browser, Self::Distributor, Self::Relay];
}

/// An event of a pusher, both counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Event {
    pub(super) pusher: usize,
    pub(super) number: usize,
}

/// The plan of a run.
pub(super) struct Plan {
    seed: u64,
    pushers: usize,
    events_each: usize,
    accounts: Accounts,
    /// The phone of each pusher: the number of its first pusher.
    phones: Vec<usize>,
    /// The devices whose endpoint the push service makes.
    endpoints: HashMap<usize, Value>,
    /// The subscriptions of pushers of the relay.
    relayed: HashMap<usize, Subscription>,
    /// The pushers of each pushkey.
    pushkeys: HashMap<String, Vec<usize>>,
    /// Faults of the first attempt at an event, so that each kind occurs.
    certain: HashMap<Event, &'static str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attempts: HashMap<Event, u32>,
    arrivals: BTreeMap<Service, usize>,
    outages: BTreeMap<Service, Instant>,
    met: BTreeMap<(Service, &'static str), usize>,
}

impl Plan {
    /// A plan for this number of pushers and of events of each.
    pub(super) fn new(
        seed: u64,
        pushers: usize,
        events_each: usize,
        accounts: Accounts,
        service: &PushService,
    ) -> Self {
        let mut plan = Self {
            seed,
            pushers,
            events_each,
            accounts,
            phones: (0..pushers).collect(),
            endpoints: (0..pushers).filter_map(|pusher| Some((pusher, endpoint(pusher, service)?))).collect(),
            relayed: HashMap::new(),
            pushkeys: HashMap::new(),
            certain: HashMap::new(),
            state: Mutex::default(),
        };
        for service in Service::ALL {
            for (place, kind) in kinds(service).iter().enumerate() {
                for time in 0..kind.certainly(pushers * events_each) {
                    let event = plan.free_event(service, &[place as u64, time as u64]);
                    plan.certain.insert(event, kind.name);
                }
            }
        }
        if accounts == Accounts::Two {
            plan.phones = (0..pushers).map(|pusher| plan.shared_phone(pusher)).collect();
        }
        for pusher in 0..pushers {
            plan.pushkeys.entry(plan.pushkey(pusher)).or_default().push(pusher);
        }
        plan
    }

    /// Gets the URLs of the relay.
    pub(super) async fn subscribe(&mut self, world: &World) {
        for pusher in (0..self.pushers).filter(|pusher| Self::service(*pusher) == Service::Relay) {
            let subscription = Subscription::new(&world.api, &self.device(pusher)).await;
            self.relayed.insert(pusher, subscription);
        }
    }

    /// The subscription of a pusher of the relay.
    pub(super) fn subscription(&self, pusher: usize) -> Option<&Subscription> {
        self.relayed.get(&pusher)
    }

    /// Makes the push services follow the plan.
    pub(super) fn direct(self: &Arc<Self>, world: &World, service: &PushService) {
        let plan = Arc::clone(self);
        world.apple.fault_by(move |request| {
            let event = plan.event(request.device(), &request.json())?;
            plan.next(event, Self::service(event.pusher), faults::dead_iphone, faults::APPLE, faults::APPLE_OUTAGE)
        });
        let plan = Arc::clone(self);
        world.google.fault_by(move |request| {
            let event = plan.event(&request.pushkey()?, &request.json()["message"]["data"])?;
            plan.next(event, Service::Google, faults::dead_android, faults::GOOGLE, faults::GOOGLE_OUTAGE)
        });
        let (plan, opener) = (Arc::clone(self), service.opener());
        service.fault_by(move |request| {
            let event = plan.endpoint_event(request, &opener)?;
            let service = Self::service(event.pusher);
            plan.next(event, service, faults::dead_endpoint, faults::ENDPOINTS, faults::ENDPOINTS_OUTAGE)
        });
    }

    pub(super) fn pushers(&self) -> usize {
        self.pushers
    }

    /// The events of a pusher that must be delivered, in order, and the event at which its pushkey is rejected.
    pub(super) fn events(&self, pusher: usize) -> (Vec<Event>, Option<Event>) {
        let death = self.death(pusher);
        let lived = death.unwrap_or(self.events_each);
        ((0..lived).map(|number| Event { pusher, number }).collect(), death.map(|number| Event { pusher, number }))
    }

    pub(super) fn service(pusher: usize) -> Service {
        Service::ALL[pusher % Service::ALL.len()]
    }

    /// The pusher as its homeserver sends it.
    pub(super) fn device(&self, pusher: usize) -> Value {
        let mut device = match Self::service(pusher) {
            Service::Apple | Service::Relay => ios_device(&self.pushkey(pusher)),
            Service::Google => android_device(&self.pushkey(pusher)),
            Service::Browser | Service::Distributor => self.endpoints[&self.phones[pusher]].clone(),
        };
        if self.accounts == Accounts::Two {
            device["data"]["default_payload"] = json!({ "cs": self.secret(pusher) });
        }
        device
    }

    pub(super) fn pushkey(&self, pusher: usize) -> String {
        let phone = self.phones[pusher];
        match Self::service(phone) {
            Service::Apple | Service::Relay => {
                (0..4).map(|part| format!("{:016x}", self.draw(&[1, phone as u64, part]))).collect()
            }
            Service::Google => format!("phone-{phone}-{:016x}", self.draw(&[1, phone as u64])),
            Service::Browser | Service::Distributor => {
                self.endpoints[&phone]["pushkey"].as_str().expect("a pushkey").to_owned()
            }
        }
    }

    /// The identifier of an event. Both accounts of a phone are in the same rooms, so they receive the same events.
    pub(super) fn event_id(&self, event: Event) -> String {
        format!("${}-{}-x:hs.example", self.phones[event.pusher], event.number)
    }

    /// The number of phones with two accounts.
    pub(super) fn shared_phones(&self) -> usize {
        self.pushkeys.values().filter(|pushers| pushers.len() > 1).count()
    }

    /// After how long the homeserver closes the connection of this attempt, if it does.
    pub(super) fn patience(&self, event: Event, tries: u64) -> Option<Duration> {
        let draw = self.draw(&[2, event.pusher as u64, event.number as u64, tries]);
        (draw.is_multiple_of(40) && tries < 5).then(|| Duration::from_millis(1 + draw / 40 % 40))
    }

    /// The event of a payload for `pushkey`, if it belongs to this plan.
    pub(super) fn event(&self, pushkey: &str, payload: &Value) -> Option<Event> {
        let pusher = match self.pushkeys.get(pushkey)?.as_slice() {
            [one] => *one,
            several => *several.iter().find(|pusher| payload["cs"] == self.secret(**pusher).as_str())?,
        };
        let opened = self.relayed.get(&pusher).map(|subscription| subscription.open(payload));
        let payload = opened.as_ref().unwrap_or(payload);
        let number = payload["event_id"].as_str()?.strip_prefix('$')?.split('-').nth(1)?.parse().ok()?;
        Some(Event { pusher, number })
    }

    /// The event of a request to the push service of the endpoints.
    pub(super) fn endpoint_event(&self, request: &Request, opener: &Opener) -> Option<Event> {
        let message = opener.message(request)?;
        let is_addressed = |device: &Value| endpoint_url(device).is_some_and(|url| url.ends_with(&*request.target));
        let device = self.endpoints.values().find(|device| is_addressed(device))?;
        let payload = message.get("notification").unwrap_or(&message);
        self.event(device["pushkey"].as_str()?, payload)
    }

    /// How often each fault occurred.
    pub(super) fn met(&self) -> BTreeMap<(Service, &'static str), usize> {
        self.state().met.clone()
    }

    /// The planned faults that never occurred.
    pub(super) fn missed(&self) -> Vec<(Service, &'static str)> {
        let met = self.met();
        let all = Service::ALL.into_iter().flat_map(|service| {
            let certain = move |kind: &NamedKind| kind.certainly(self.pushers * self.events_each) > 0;
            kinds(service).into_iter().filter(certain).map(move |kind| (service, kind.name))
        });
        all.filter(|fault| !met.contains_key(fault)).collect()
    }

    fn next<F: Clone>(
        &self,
        event: Event,
        service: Service,
        dead: fn(usize) -> F,
        table: &[Kind<F>],
        outage: fn() -> F,
    ) -> Option<F> {
        let mut state = self.state();
        if self.death(event.pusher) == Some(event.number) {
            *state.met.entry((service, "death")).or_default() += 1;
            return Some(dead(event.pusher / DEATHS / Service::ALL.len()));
        }
        let attempt = *state.attempts.entry(event).and_modify(|count| *count += 1).or_insert(1);
        let arrivals = *state.arrivals.entry(service).and_modify(|count| *count += 1).or_insert(1);
        let certain = self.certain.get(&event).filter(|_| attempt == 1);
        // An outage never replaces a certain fault.
        if certain.is_none() && arrivals > self.pushers * self.events_each / 2 / Service::ALL.len() {
            let began = *state.outages.entry(service).or_insert_with(Instant::now);
            if began.elapsed() < OUTAGE {
                *state.met.entry((service, "outage")).or_default() += 1;
                return Some(outage());
            }
        }
        let kind = match certain {
            Some(name) => table.iter().find(|kind| kind.name == *name)?,
            None if attempt < LAST_FAULT => {
                let mut rest = self.draw(&[4, event.pusher as u64, event.number as u64, attempt.into()]) % 1000;
                table.iter().find(|kind| {
                    let is_it = rest < kind.per_mille;
                    rest = rest.saturating_sub(kind.per_mille);
                    is_it
                })?
            }
            None => return None,
        };
        *state.met.entry((service, kind.name)).or_default() += 1;
        Some((kind.fault)(self.draw(&[5, event.pusher as u64, event.number as u64, attempt.into()])))
    }

    /// The event at which a pushkey is rejected, if it ever is.
    fn death(&self, pusher: usize) -> Option<usize> {
        let event = usize::try_from(self.draw(&[6, pusher as u64]) % self.events_each as u64);
        (pusher % DEATHS == DEATHS / 2).then(|| event.expect("less than a usize"))
    }

    /// The only difference between the accounts of a phone.
    fn secret(&self, pusher: usize) -> String {
        format!("{:016x}", self.draw(&[8, pusher as u64]))
    }

    /// The first pusher of a pair with one push service, if both can be on one phone; else the pusher itself.
    fn shared_phone(&self, pusher: usize) -> usize {
        let services = Service::ALL.len();
        let neighbour = ((pusher / services) ^ 1) * services + pusher % services;
        let is_reduced = |pusher| {
            let of_pusher = self.certain.iter().filter(move |(event, _)| event.pusher == pusher);
            of_pusher.into_iter().any(|(_, name)| REDUCING.contains(name))
        };
        // A UnifiedPush app and a relayed message get no part of `default_payload`.
        let can_share = !matches!(Self::service(pusher), Service::Distributor | Service::Relay);
        let fits = |pusher| can_share && pusher < self.pushers && self.death(pusher).is_none() && !is_reduced(pusher);
        if fits(pusher) && fits(neighbour) { pusher.min(neighbour) } else { pusher }
    }

    /// An event without a certain fault, of a pusher whose pushkey has not expired.
    fn free_event(&self, service: Service, parts: &[u64]) -> Event {
        let free = (0_u64..).map(|turn| {
            let draw = self.draw(&[&[7, service as u64, turn], parts].concat());
            let number = usize::try_from(draw >> 32).expect("32 bits") % self.events_each;
            Event { pusher: usize::try_from(draw & 0xffff_ffff).expect("32 bits") % self.pushers, number }
        });
        let fits = |event: &Event| {
            Self::service(event.pusher) == service
                && self.death(event.pusher).is_none()
                && !self.certain.contains_key(event)
        };
        free.into_iter().find(fits).expect("there is no end to them")
    }

    /// A number that follows from the seed and `parts` (SplitMix64's mixing).
    fn draw(&self, parts: &[u64]) -> u64 {
        parts.iter().fold(mix(self.seed), |state, part| mix(state ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The devices of a pusher.
pub(super) fn devices(plan: &Plan, pusher: usize) -> Value {
    json!([plan.device(pusher)])
}

struct NamedKind {
    name: &'static str,
    times: usize,
    times_in_a_long_run: usize,
}

impl NamedKind {
    /// Its minimum frequency.
    fn certainly(&self, events: usize) -> usize {
        if events >= LONG_RUN { self.times_in_a_long_run } else { self.times }
    }
}

/// A run in which a device may be paused for half a minute.
const LONG_RUN: usize = 5_000;

fn kinds(service: Service) -> Vec<NamedKind> {
    fn named<F>(table: &[Kind<F>]) -> Vec<NamedKind> {
        let named = |kind: &Kind<F>| NamedKind {
            name: kind.name,
            times: kind.times,
            times_in_a_long_run: kind.times_in_a_long_run,
        };
        table.iter().map(named).collect()
    }
    match service {
        Service::Apple => named(faults::APPLE),
        // Without its body a relayed message is no event of the plan.
        Service::Relay => named(faults::APPLE).into_iter().filter(|kind| kind.name != "413").collect(),
        Service::Google => named(faults::GOOGLE),
        Service::Browser | Service::Distributor => named(faults::ENDPOINTS),
    }
}

/// The device of a pusher, if the push service makes its endpoint.
fn endpoint(pusher: usize, service: &PushService) -> Option<Value> {
    match Plan::service(pusher) {
        Service::Apple | Service::Google | Service::Relay => None,
        Service::Browser => Some(service.browser(WEB)),
        Service::Distributor => Some(service.phone(UNIFIED)),
    }
}

fn endpoint_url(device: &Value) -> Option<&str> {
    device["data"]["endpoint"].as_str().or(device["pushkey"].as_str())
}

fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
