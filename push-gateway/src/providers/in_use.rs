//! Values that several apps share by a name, such as an account with its access token.
//!
//! Invariant: a value lives as long as an app that uses it, across reloads of the configuration.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The values in use, by name.
pub(crate) struct InUse<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for InUse<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> InUse<K, V> {
    /// The value with this name: one in use, or a new one.
    pub(crate) fn find_or_insert(&self, key: K, new: impl FnOnce() -> V) -> Arc<V> {
        let mut in_use = self.0.lock();
        in_use.retain(|_, value| value.strong_count() > 0);
        if let Some(value) = in_use.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        let value = Arc::new(new());
        in_use.insert(key, Arc::downgrade(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::InUse;

    #[test]
    fn a_value_lives_as_long_as_it_is_used() {
        let in_use = InUse::default();
        let one = in_use.find_or_insert("a", || 1);
        assert!(Arc::ptr_eq(&one, &in_use.find_or_insert("a", || 2)) && *in_use.find_or_insert("b", || 3) == 3);
        drop(one);
        assert_eq!(*in_use.find_or_insert("a", || 4), 4);
    }
}
