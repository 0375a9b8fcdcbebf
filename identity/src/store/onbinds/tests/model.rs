//! The store beside a simpler model, with generated events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::super::outbox;
use super::{after, bind, delete_done, everything, head, invite, mark_delivered, save_attempt, unbind};
use crate::store::QueueHead;
use crate::store::testing::{START, stores};

/// An event of an address: the address's number, and the user's.
#[derive(Clone, Copy, Debug)]
enum Event {
    Invite(usize),
    Bind(usize, usize),
    Unbind(usize, usize),
    /// A worker takes the due onbind and delivers every second invite.
    Deliver,
}

const ADDRESSES: usize = 5;

const PEOPLE: usize = 4;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..ADDRESSES).prop_map(Event::Invite),
        3 => (0..ADDRESSES, 0..PEOPLE).prop_map(|(address, person)| Event::Bind(address, person)),
        2 => (0..ADDRESSES, 0..PEOPLE).prop_map(|(address, person)| Event::Unbind(address, person)),
        1 => Just(Event::Deliver),
    ];
    proptest::collection::vec(event, 120)
}

/// Compares the store with a simpler model: an undelivered invite belongs to the user who has bound its address.
#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_never_carries_the_invitations_of_another_address() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::default();
    for store in stores().await {
        for run in 0..5 {
            let address = |number: usize| format!("a{run}n{number}@x.org");
            let person = |number: usize| format!("@p{number}:hs");
            let keep = any::<bool>().new_tree(&mut runner).unwrap().current();
            let mut waiting: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            let mut owners: BTreeMap<String, String> = BTreeMap::new();
            for (step, event) in events().new_tree(&mut runner).unwrap().current().into_iter().enumerate() {
                let (id, now) = (format!("r{run}s{step}"), after(100 * step as u64));
                match event {
                    // A bound address is not invited.
                    Event::Invite(number) if !owners.contains_key(&address(number)) => {
                        invite(&store, &id, &address(number)).await;
                        waiting.entry(address(number)).or_default().insert(id);
                    }
                    Event::Invite(_) => {}
                    Event::Bind(number, who) => {
                        bind(&store, &id, &address(number), &person(who), now).await;
                        owners.insert(address(number), person(who));
                    }
                    Event::Unbind(number, who) => {
                        unbind(&store, &address(number), &person(who)).await;
                        if owners.get(&address(number)) == Some(&person(who)) {
                            owners.remove(&address(number));
                        }
                    }
                    Event::Deliver => {
                        let QueueHead::Due(onbind) = head(&store, now, &[]).await else { continue };
                        let address = onbind.association.threepid.address().as_str().to_owned();
                        assert_eq!(owners.get(&address).map(String::as_str), Some(onbind.association.mxid.as_str()));
                        let id = onbind.id.clone();
                        let invites =
                            store.read(async move |conn| outbox::list_invites(conn, &id, START).await).await.unwrap();
                        let own = waiting.get_mut(&address).expect("invites of the address");
                        assert_eq!(invites.iter().cloned().collect::<BTreeSet<_>>(), *own, "{run} {step}");
                        let taken: Vec<&str> = invites.iter().step_by(2).map(String::as_str).collect();
                        mark_delivered(&store, &onbind, &taken, keep).await;
                        own.retain(|id| !taken.contains(&id.as_str()));
                        if !delete_done(&store, &onbind).await {
                            save_attempt(&store, &onbind, 1, now).await;
                        }
                    }
                }
                let rows = store.read(async |conn| everything(conn).await).await.unwrap();
                for (address, mxid, invites) in rows {
                    assert_eq!(owners.get(&address), Some(&mxid), "{run} {step} {event:?}");
                    assert!(invites.iter().all(|of| *of == address), "{run} {step} {event:?}");
                    assert_eq!(invites.len(), waiting[&address].len(), "{run} {step} {event:?}");
                }
            }
            for number in 0..ADDRESSES {
                for who in 0..PEOPLE {
                    unbind(&store, &address(number), &person(who)).await;
                }
            }
        }
    }
}
