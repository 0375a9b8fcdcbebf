//! Keyed hashes that identify devices in memory: deduplication, rejections, rate limits and pauses all use them.
//!
//! Invariant: no cache holds a pushkey, and each process has its own random keys.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use aws_lc_rs::hmac;
use sha2::{Digest as _, Sha256};
use shared::random::Random;

/// A keyed 128-bit hash of a device, of a pushkey, of one event for a device, or of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceKey([u8; 16]);

/// A map that uses a part of the key as its hash: outsiders cannot choose keyed hashes.
pub(crate) type ByDeviceKey<V> = HashMap<DeviceKey, V, BuildHasherDefault<PartOfKey>>;

/// A keyed hash of what a device would show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

/// Feeds a value's own [`Hash`] to SHA-256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Unused: the digest is longer.
    fn finish(&self) -> u64 {
        0
    }
}

/// Hashes a key to its first half.
#[derive(Default)]
pub(crate) struct PartOfKey(u64);

/// Computes keys with the random secrets of this process.
#[derive(Clone)]
pub(crate) struct DeviceKeys {
    secret: [u8; 32],
    log_names: hmac::Key,
}

impl DeviceKeys {
    pub(crate) fn new(random: Random) -> Self {
        Self { secret: random.bytes(), log_names: hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()) }
    }

    /// The key of a device within `scope`: an app and its configuration generation. `pushkey` is in the canonical form.
    pub(crate) fn device(&self, scope: &[&str], pushkey: &str) -> DeviceKey {
        self.hash(b"device", scope.iter().copied().chain([pushkey]).map(str::as_bytes))
    }

    /// The key of a pushkey alone, whatever `app_id` and configuration it comes with: push services limit pushkeys.
    pub(crate) fn pushkey(&self, pushkey: &str) -> DeviceKey {
        self.hash(b"pushkey", [pushkey.as_bytes()])
    }

    /// The key of one event for one device, with everything that the device would show.
    pub(crate) fn event(&self, device: DeviceKey, event_id: &str, shown: [Digest; 2]) -> DeviceKey {
        self.hash(b"event", [&device.0[..], event_id.as_bytes(), &shown[0].0, &shown[1].0])
    }

    /// The digest of `value`, equal for equal values.
    pub(crate) fn digest(&self, value: &impl Hash) -> Digest {
        let mut hasher = Sha256Hasher(Sha256::new());
        hasher.0.update(self.secret);
        value.hash(&mut hasher);
        Digest(hasher.0.finalize().into())
    }

    /// The key of a client address.
    pub(crate) fn client(&self, address: &str) -> DeviceKey {
        self.hash(b"client", [address.as_bytes()])
    }

    /// The key of a homeserver with this digest of its VAPID key.
    pub(crate) fn application_server(&self, digest: &[u8; 32]) -> DeviceKey {
        self.hash(b"application server", [&digest[..]])
    }

    /// The key of a VAPID token and of the key that it was verified with.
    pub(crate) fn vapid(&self, token: &str, key: &[u8]) -> DeviceKey {
        self.hash(b"vapid", [token.as_bytes(), key])
    }

    /// The eight hexadecimal digits that identify a device in logs.
    pub(crate) fn log_name(&self, pushkey: &str) -> String {
        hmac::sign(&self.log_names, pushkey.as_bytes()).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Different lists of parts have different hashes.
    fn hash<'a>(&self, kind: &'a [u8], parts: impl IntoIterator<Item = &'a [u8]>) -> DeviceKey {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in std::iter::once(kind).chain(parts) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        DeviceKey(key)
    }
}

impl Hash for DeviceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl Hasher for PartOfKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = part;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use shared::random::Random;

    use super::{DeviceKey, DeviceKeys};

    /// The key of device number `number`; the same for each `keys`.
    pub(crate) fn numbered(keys: &DeviceKeys, number: u32) -> DeviceKey {
        keys.client(&number.to_string())
    }

    pub(crate) fn keys() -> DeviceKeys {
        DeviceKeys::new(Random)
    }
}

#[cfg(test)]
mod tests {
    use shared::random::Random;

    use super::DeviceKeys;

    #[test]
    fn keys_differ_by_scope_pushkey_event_content_and_process() {
        let keys = DeviceKeys::new(Random);
        let key = keys.device(&["p", "1"], "bc");
        assert_eq!(key, keys.device(&["p", "1"], "bc"));
        assert_ne!(key, keys.device(&["p", "1b"], "c"));
        assert_ne!(key, keys.device(&["p", "2"], "bc"));
        assert_ne!(key, DeviceKeys::new(Random).device(&["p", "1"], "bc"));
        let (one, two) = (keys.digest(&"one"), keys.digest(&"two"));
        let event = keys.event(key, "$1", [one, one]);
        assert_eq!(event, keys.event(key, "$1", [keys.digest(&"one"), one]));
        for other in
            [keys.event(key, "$2", [one, one]), keys.event(key, "$1", [two, one]), keys.event(key, "$1", [one, two])]
        {
            assert_ne!(event, other);
        }
        assert_ne!(keys.client("10.0.0.1"), keys.client("10.0.0.2"));
    }

    #[test]
    fn a_log_name_has_eight_digits_and_differs_by_pushkey_and_process() {
        let keys = DeviceKeys::new(Random);
        let name = keys.log_name("key");
        assert!(name.len() == 8 && name == keys.log_name("key") && name != keys.log_name("other"), "{name}");
        assert_ne!(DeviceKeys::new(Random).log_name("key"), name);
    }
}
