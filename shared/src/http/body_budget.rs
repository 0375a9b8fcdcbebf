//! The memory for the request bodies of a process. Without a bound, half-sent bodies of many connections would take any
//! amount.
//!
//! Invariant: one client has at most a quarter of it, so that it keeps no other one from sending, but enough for one body.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::client_address::network;

/// The part of the budget that one client may have.
const CLIENT_SHARE: usize = 4;

/// The memory for the bodies of all requests of a process, in bytes.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    max_per_client: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Budget {
    /// A budget of this many bytes; `largest` is the size of the largest body.
    pub fn new(bytes: usize, largest: usize) -> Arc<Self> {
        // While a body arrives its memory grows by a quarter of it at a time.
        let max_per_client = (bytes / CLIENT_SHARE).max(largest.saturating_mul(2));
        Arc::new(Self { bytes, max_per_client, used: Mutex::default() })
    }
}

/// The budget has no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

/// The share of one body; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    client: IpAddr,
    bytes: usize,
}

impl Share {
    /// The share of a body that `client` sends, empty at first.
    pub(super) fn of(budget: &Arc<Budget>, client: IpAddr) -> Self {
        Self { budget: budget.clone(), client: network(client), bytes: 0 }
    }

    /// Adds bytes that have arrived.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let max_per_client = self.budget.max_per_client;
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = used.by_client.get(&self.client).copied().unwrap_or(0);
        if bytes > self.budget.bytes - used.bytes || bytes > max_per_client.saturating_sub(of_client) {
            return Err(Exhausted);
        }
        used.bytes += bytes;
        used.by_client.insert(self.client, of_client + bytes);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes -= self.bytes;
        if let Some(of_client) = used.by_client.get_mut(&self.client) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                used.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Budget, Exhausted, Share};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_has_at_most_a_quarter_and_gives_it_back() {
        let budget = Budget::new(100, 10);
        let share = |client: &str| Share::of(&budget, address(client));
        let mut first = share("2001:db8::1");
        assert_eq!(first.grow(20), Ok(()));
        let mut second = share("2001:db8:0:1::2");
        assert_eq!((second.grow(6), second.grow(5)), (Err(Exhausted), Ok(())), "the same /48 network");
        drop(first);
        assert_eq!(second.grow(20), Ok(()));
        let others: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.2", "2001:db8:1::1"]
            .into_iter()
            .map(|client| {
                let mut share = share(client);
                share.grow(25).unwrap();
                share
            })
            .collect();
        assert_eq!(share("10.0.0.9").grow(1), Err(Exhausted), "nothing is left");
        assert_eq!(share("10.0.0.2").grow(1), Err(Exhausted));
        drop((others, second));
        assert!(budget.used.lock().unwrap().by_client.is_empty());
        let small = Budget::new(30, 10);
        assert_eq!(Share::of(&small, address("10.0.0.1")).grow(20), Ok(()), "one body");
    }
}
