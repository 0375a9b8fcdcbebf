//! The requests in flight: how many, and how many devices they deliver to, together and for each client.
//!
//! Invariant: bounded in number and memory. One client holds at most a quarter, so that it keeps no other client out.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::limits::Limits;
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::Failure;

/// The part of each limit that one client may hold.
const CLIENT_SHARE: usize = 4;
/// What one client may hold of a small limit, so that a gateway for one homeserver can use it.
const MIN_SHARE: usize = 64;

/// The memory that counts as one device, in bytes. A waiting delivery takes about as much.
const DEVICE_MEMORY: usize = 2048;

/// The requests in flight of all clients.
pub(crate) struct InFlight {
    max: Load,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    requests: usize,
    devices: usize,
}

#[derive(Default)]
struct State {
    all: Load,
    clients: ByDeviceKey<Load>,
}

/// One request's share; dropping it gives it back.
pub(crate) struct RequestPermit {
    in_flight: Arc<InFlight>,
    client: DeviceKey,
    devices: usize,
}

impl Load {
    /// The largest load of one client.
    fn of_client(self) -> Self {
        let share = |limit: usize| limit.div_ceil(CLIENT_SHARE).max(MIN_SHARE.min(limit));
        Self { requests: share(self.requests), devices: share(self.devices) }
    }

    fn plus(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, devices: self.devices.saturating_add(other.devices) }
    }

    fn minus(self, other: Self) -> Self {
        Self { requests: self.requests - other.requests, devices: self.devices - other.devices }
    }

    fn is_within(self, max: Self) -> bool {
        self.requests <= max.requests && self.devices <= max.devices
    }
}

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { max: Self::max(limits), state: Mutex::default() })
    }

    fn max(limits: &Limits) -> Load {
        Load { requests: limits.max_in_flight, devices: limits.max_devices_in_flight }
    }

    /// Whether other limits are equal to these.
    pub(crate) fn has(&self, limits: &Limits) -> bool {
        self.max == Self::max(limits)
    }

    /// Starts a request of `client`.
    ///
    /// # Errors
    /// An overload, of all clients or of this one.
    pub(crate) fn enter(self: &Arc<Self>, client: DeviceKey) -> Result<RequestPermit, Failure> {
        self.add(client, Load { requests: 1, devices: 0 })?;
        Ok(RequestPermit { in_flight: Arc::clone(self), client, devices: 0 })
    }

    fn add(&self, client: DeviceKey, more: Load) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let (all, of_client) =
            (state.all.plus(more), state.clients.get(&client).copied().unwrap_or_default().plus(more));
        if !all.is_within(self.max) || !of_client.is_within(self.max.of_client()) {
            return Err(Failure::overloaded());
        }
        state.all = all;
        state.clients.insert(client, of_client);
        Ok(())
    }
}

impl RequestPermit {
    /// Adds the devices of the request, whose body takes `memory` bytes. One that exceeds a client's share counts as the whole
    /// share: it would never be accepted otherwise.
    ///
    /// # Errors
    /// An overload, of all clients or of this one.
    pub(crate) fn add_devices(&mut self, devices: usize, memory: usize) -> Result<(), Failure> {
        let devices = (devices + memory / DEVICE_MEMORY).min(self.in_flight.max.of_client().devices);
        self.in_flight.add(self.client, Load { requests: 0, devices })?;
        self.devices += devices;
        Ok(())
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let own = Load { requests: 1, devices: self.devices };
        let mut state = self.in_flight.state.lock();
        state.all = state.all.minus(own);
        if let Some(load) = state.clients.get_mut(&self.client) {
            *load = load.minus(own);
            if load.requests == 0 {
                state.clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEVICE_MEMORY, InFlight, RequestPermit};
    use crate::config::limits::Limits;
    use crate::providers::device_key::testing::{keys, numbered};
    use crate::providers::outcome::Failure;

    fn limits(max_in_flight: usize, max_devices_in_flight: usize) -> Limits {
        Limits { max_in_flight, max_devices_in_flight, ..Limits::default() }
    }

    #[test]
    fn one_client_has_a_quarter_of_the_requests_and_all_clients_together_the_whole() {
        let (in_flight, keys) = (InFlight::new(&limits(512, 1000)), keys());
        let enter = |client| in_flight.enter(numbered(&keys, client));
        let mut held: Vec<RequestPermit> = (0..512).map_while(|_| enter(1).ok()).collect();
        assert_eq!(held.len(), 128);
        held.extend((0..512).map_while(|number| enter(2 + number / 128).ok()));
        assert_eq!(held.len(), 512);
        held.clear();
        assert!(enter(1).is_ok());
        assert!(in_flight.state.lock().clients.is_empty());
    }

    #[test]
    fn one_client_has_a_quarter_of_the_devices_and_all_clients_together_the_whole() {
        let (in_flight, keys) = (InFlight::new(&limits(1000, 400)), keys());
        let enter = |client, devices, memory| {
            let mut permit = in_flight.enter(numbered(&keys, client))?;
            permit.add_devices(devices, memory).map(|()| permit)
        };
        let first = enter(1, 90, 0).unwrap();
        assert_eq!(enter(1, 11, 0).err(), Some(Failure::overloaded()));
        let last = enter(1, 10, DEVICE_MEMORY - 1).unwrap();
        assert_eq!(in_flight.state.lock().all.requests, 2, "a refused request holds nothing");
        drop((first, last));
        // Memory counts as devices, and more than the share as the share.
        let large = enter(1, 1, 200 * DEVICE_MEMORY).unwrap();
        assert!(enter(1, 1, 0).is_err());
        let others: Vec<_> = (2..9).map_while(|client| enter(client, 500, 0).ok()).collect();
        assert_eq!(others.len(), 3);
        drop((large, others));
        assert!(enter(9, 500, 0).is_ok());
    }

    #[test]
    fn one_client_may_hold_all_of_a_small_limit() {
        let (in_flight, keys) = (InFlight::new(&limits(8, 40)), keys());
        let held: Vec<_> = (0..9).map_while(|_| in_flight.enter(numbered(&keys, 1)).ok()).collect();
        assert_eq!(held.len(), 8);
    }
}
