//! The permits of an app: how many deliveries run at the same time, and which one is next.
//!
//! Invariants: a free permit is never left while a delivery may take it. Waiting deliveries of different clients take turns,
//! and pushkeys that never had a delivery hold at most a quarter of the permits, so that one client with many junk devices
//! delays no other one.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::providers::device_key::DeviceKey;

/// The part of the permits that unproven pushkeys may hold.
const UNPROVEN_SHARE: usize = 4;

/// The permits of one app.
pub(crate) struct Permits {
    state: Mutex<State>,
    max_unproven: usize,
}

struct State {
    free: usize,
    /// Permits that unproven pushkeys hold.
    unproven: usize,
    /// The clients (IPv4 addresses, IPv6 /48 networks) with waiting deliveries; the first one is next.
    queues: VecDeque<(DeviceKey, VecDeque<Waiting>)>,
}

struct Waiting {
    is_proven: bool,
    /// Closed when the delivery waits no more.
    granted: oneshot::Sender<()>,
}

/// The right to one delivery at a time; dropping it gives it to the next one.
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    is_proven: bool,
}

impl Permits {
    pub(crate) fn new(number: usize) -> Self {
        let number = number.max(1);
        let state = State { free: number, unproven: 0, queues: VecDeque::new() };
        Self { state: Mutex::new(state), max_unproven: number.div_ceil(UNPROVEN_SHARE) }
    }

    /// A permit, if one is free at once. `is_proven`: the pushkey had a delivery before.
    pub(crate) fn try_acquire(&self, is_proven: bool) -> Option<Permit<'_>> {
        let may = self.state.lock().take(is_proven, self.max_unproven);
        // Made only then: dropping one gives it back.
        may.then(|| Permit { permits: self, is_proven })
    }

    /// Waits for a permit, in turn with other clients.
    pub(crate) async fn acquire(&self, client: DeviceKey, is_proven: bool) -> Permit<'_> {
        let receiver = {
            let mut state = self.state.lock();
            if state.take(is_proven, self.max_unproven) {
                return Permit { permits: self, is_proven };
            }
            let (granted, receiver) = oneshot::channel();
            let waiting = Waiting { is_proven, granted };
            match state.queues.iter_mut().find(|(other, _)| *other == client) {
                Some((_, queue)) => queue.push_back(waiting),
                None => state.queues.push_back((client, VecDeque::from([waiting]))),
            }
            Receiver { permits: self, is_proven, receiver }
        };
        receiver.granted().await
    }

    fn release(&self, is_proven: bool) {
        let mut state = self.state.lock();
        state.give_back(is_proven);
        state.grant(self.max_unproven);
    }
}

impl State {
    fn take(&mut self, is_proven: bool, max_unproven: usize) -> bool {
        let may = self.free > 0 && (is_proven || self.unproven < max_unproven);
        if may {
            self.free -= 1;
            self.unproven += usize::from(!is_proven);
        }
        may
    }

    fn give_back(&mut self, is_proven: bool) {
        self.free += 1;
        self.unproven -= usize::from(!is_proven);
    }

    /// Grants free permits to waiting deliveries, one client after the other.
    fn grant(&mut self, max_unproven: usize) {
        let mut skipped = 0;
        while self.free > 0 && skipped < self.queues.len() {
            let Some((client, mut queue)) = self.queues.pop_front() else { return };
            queue.retain(|waiting| !waiting.granted.is_closed());
            let next = queue.iter().position(|waiting| waiting.is_proven || self.unproven < max_unproven);
            match next.and_then(|next| queue.remove(next)) {
                Some(Waiting { is_proven, granted }) => {
                    skipped = 0;
                    // One that left meanwhile takes none.
                    if self.take(is_proven, max_unproven) && granted.send(()).is_err() {
                        self.give_back(is_proven);
                    }
                }
                // A client whose deliveries have all left is no client any more.
                None if queue.is_empty() => {}
                None => skipped += 1,
            }
            if !queue.is_empty() {
                self.queues.push_back((client, queue));
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.release(self.is_proven);
    }
}

/// A waiting delivery. If it leaves just after its permit was granted, the permit goes on to the next one.
struct Receiver<'a> {
    permits: &'a Permits,
    is_proven: bool,
    receiver: oneshot::Receiver<()>,
}

impl<'a> Receiver<'a> {
    async fn granted(mut self) -> Permit<'a> {
        // The sender leaves the queue only to grant.
        let _granted = (&mut self.receiver).await;
        Permit { permits: self.permits, is_proven: self.is_proven }
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        // Received already, or still waiting: nothing to give back.
        if self.receiver.try_recv().is_ok() {
            self.permits.release(self.is_proven);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::Permits;
    use crate::providers::device_key::DeviceKeys;
    use shared::random::Random;

    #[tokio::test]
    async fn clients_take_turns_however_many_deliveries_one_of_them_has_waiting() {
        let keys = DeviceKeys::new(Random);
        let (many, few) = (keys.client("10.0.0.1"), keys.client("10.0.0.2"));
        let permits = Permits::new(1);
        let held = permits.try_acquire(true).unwrap();
        let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(permits.acquire(many, true))).collect();
        waiting.iter_mut().for_each(|waiting| assert!(waiting.now_or_never().is_none()));
        let mut other = Box::pin(permits.acquire(few, true));
        assert!((&mut other).now_or_never().is_none());
        drop(held);
        let first = waiting[0].as_mut().now_or_never().expect("the first in the queue");
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        assert!(other.now_or_never().is_some(), "the other client is next, before four of the first");
    }

    #[tokio::test]
    async fn unproven_pushkeys_hold_at_most_a_quarter() {
        let client = DeviceKeys::new(Random).client("10.0.0.1");
        let permits = Permits::new(8);
        let unproven: Vec<_> = (0..8).map_while(|_| permits.try_acquire(false)).collect();
        assert_eq!(unproven.len(), 2);
        let proven: Vec<_> = (0..8).map_while(|_| permits.try_acquire(true)).collect();
        assert_eq!(proven.len(), 6);
        let mut waiting = Box::pin(permits.acquire(client, false));
        assert!((&mut waiting).now_or_never().is_none());
        drop(proven);
        assert!((&mut waiting).now_or_never().is_none(), "free permits, but none for it");
        drop(unproven);
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_client_whose_deliveries_have_left_does_not_hold_up_the_next_client() {
        let keys = DeviceKeys::new(Random);
        let (gone, next) = (keys.client("10.0.0.1"), keys.client("10.0.0.2"));
        let permits = Permits::new(1);
        let held = permits.try_acquire(true).unwrap();
        let late = tokio::time::timeout(Duration::from_millis(1), permits.acquire(gone, true));
        assert!(late.await.is_err());
        let mut waiting = Box::pin(permits.acquire(next, true));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_delivery_that_leaves_takes_no_permit_with_it() {
        let client = DeviceKeys::new(Random).client("10.0.0.1");
        let permits = Permits::new(1);
        let held = permits.try_acquire(true).unwrap();
        let late = tokio::time::timeout(Duration::from_millis(1), permits.acquire(client, true));
        assert!(late.await.is_err());
        let mut granted = Box::pin(permits.acquire(client, true));
        assert!((&mut granted).now_or_never().is_none());
        drop(held);
        // Granted, but dropped before it could see that.
        drop(granted);
        assert!(permits.try_acquire(true).is_some());
    }
}
