//! No event is lost or sent twice: thousands of events from pushers that retry as Synapse does, through push services
//! that reset, stall, cut off, reject and recover; APNs, FCM, Web Push and UnifiedPush alike, and APNs through the relay.
//!
//! Invariant: the seed alone decides which attempt gets which fault, so a run can be repeated. The requests and
//! responses of the push services show the gateway's errors.

mod faults;
mod ledger;
mod plan;
mod pusher;
mod relayed;

use harness::push_service::{ALLOW, PushService, VAPID};
use harness::world::push::{Settings, World};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::options;
use tokio::task::JoinSet;

use ledger::Ledger;
use plan::{Accounts, Plan, Service};
use pusher::{Pusher, Report};

/// The number of events in the suite and in a long run.
const EVENTS: (usize, usize) = (2_000, 10_000);

/// The number of events of each pusher.
const EVENTS_EACH: usize = 20;

/// Any number works.
const SEED: u64 = 20_261_122;

/// The app of type `webpush`.
const WEB: &str = "com.example.web";

/// The app of type `unifiedpush`.
const UNIFIED: &str = "com.example.up";

/// Short waits, so that a delivery is attempted three times.
const WAITS: &str = "retry_waits = [\"20ms\", \"100ms\"]\n";

/// The same for an app with the relay.
const RELAYED_WAITS: &str = "relay = true\nretry_waits = [\"20ms\", \"100ms\"]\n";

/// The relay, which no limit of URLs delays.
const RELAY: &str = "[relay]\npublic_url = \"https://push.example.net\"\nsubscribe_per_ip = \"\"\n\
                     seal_keys = [\"1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n";

/// The deadline of the whole run on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_doubled_whatever_the_push_services_do() {
    run(Accounts::One).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_doubled_with_two_accounts_on_each_phone() {
    run(Accounts::Two).await;
}

async fn run(accounts: Accounts) {
    let (events, seed) = (options::scale(EVENTS.0, EVENTS.1), options::seed().unwrap_or(SEED));
    let endpoints = format!(
        "{ALLOW}{RELAY}[apps.{WEB:?}]\ntype = \"webpush\"\n{VAPID}{WAITS}[apps.{UNIFIED:?}]\ntype = \"unifiedpush\"\n{WAITS}"
    );
    let world =
        World::with(Settings { ios: RELAYED_WAITS, android: WAITS, tables: &endpoints, environment: &[] }).await;
    let service = PushService::start(world.google.authority(), &[]).await;
    let mut plan = Plan::new(seed, events / EVENTS_EACH, EVENTS_EACH, accounts, &service);
    plan.subscribe(&world).await;
    let plan = Arc::new(plan);
    plan.direct(&world, &service);

    let began = Instant::now();
    let pushers = (0..plan.pushers()).map(|number| Pusher::new(number, Arc::clone(&plan), world.api.clone()).run());
    let pushers = pushers.collect::<JoinSet<Report>>().join_all();
    let reports = tokio::time::timeout(PATIENCE, pushers).await;
    let reports = reports.unwrap_or_else(|_| panic!("seed {seed}: no end in sight: {:?}", plan.met()));
    let seconds = began.elapsed().as_secs_f64();

    let report = reports.into_iter().fold(Report::default(), Report::with);
    let ledger = Ledger::of(&world, &service, &plan);
    let run =
        format!("{events} events, seed {seed}, {} phones with two accounts: {seconds:.1} s", plan.shared_phones());
    print(&run, &plan, &report, &ledger);
    let violations = [report.violations(&plan), ledger.violations(&report)].concat();
    let first: Vec<&String> = violations.iter().take(20).collect();
    assert!(violations.is_empty(), "seed {seed}: {} violations, such as {first:#?}", violations.len());
    assert!(ledger.duplicates() <= ledger.lost_answers());
    // A quarter of the pushers or more: the others have a pushkey that expires, a payload that is reduced, UnifiedPush or the
    // relay.
    assert!(accounts == Accounts::One || plan.shared_phones() * 8 > plan.pushers());
    // A run with few faults would prove little.
    assert_eq!(plan.missed(), [], "seed {seed}: faults that never happened");
    assert!(!report.rejected.is_empty() && ledger.lost_answers() > 0);
}

#[expect(clippy::print_stdout, reason = "figures for people")]
fn print(run: &str, plan: &Plan, report: &Report, ledger: &Ledger) {
    println!("{run}, answers {:?}", report.answers);
    println!("{} delivered, {} rejected", report.delivered.len(), report.rejected.len());
    for service in Service::ALL {
        let ledger = ledger.of_service(service);
        let (lost, twice) = (ledger.lost_answers(), ledger.duplicates());
        println!("{service:?}: {} attempts, {lost} answers lost, {twice} events again for it", ledger.arrivals());
    }
    println!("{:?}", plan.met());
}
