//! The accounts whose access tokens authenticate requests, shared by all apps of a process.
//!
//! Invariant: an account or a project lives as long as an app that uses it, across reloads of the configuration.

pub(super) mod access_token;
mod external_account;
mod grant;
mod key_file;
mod service_account;
pub(super) mod source;
mod token_exchange;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use shared::clock::Clock;

use self::access_token::Account;
use self::grant::Clients;
use self::source::{Source, SourceName};
use super::client::Route;
use super::client::pauses::Pauses;

/// The accounts in use, and the pauses of their projects. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct AccountCache {
    accounts: Arc<InUse<SourceName, Account>>,
    projects: Arc<InUse<String, Pauses>>,
}

type InUse<K, V> = Mutex<HashMap<K, Weak<V>>>;

impl AccountCache {
    /// The account of `source`: one in use, or a new one.
    pub(super) fn account(&self, source: Source, route: &Route, clock: &Clock) -> Arc<Account> {
        let name = source.name();
        find_or_insert(&self.accounts, name, || Account::new(source, Clients::new(route), clock.clone()))
    }

    /// The pauses of the project whose messages go to `url`.
    pub(super) fn pauses(&self, url: &str, clock: &Clock) -> Arc<Pauses> {
        find_or_insert(&self.projects, url.to_owned(), || Pauses::new(clock.clone()))
    }
}

fn find_or_insert<K: Eq + Hash, V>(in_use: &InUse<K, V>, key: K, new: impl FnOnce() -> V) -> Arc<V> {
    let mut in_use = in_use.lock();
    in_use.retain(|_, value| value.strong_count() > 0);
    if let Some(value) = in_use.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    let value = Arc::new(new());
    in_use.insert(key, Arc::downgrade(&value));
    value
}
