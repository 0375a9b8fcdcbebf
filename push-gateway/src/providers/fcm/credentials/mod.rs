//! The accounts whose access tokens authenticate requests, shared by all apps of a process.
//!
//! Invariant: an account or a project lives as long as an app that uses it, across reloads of the configuration.

pub(super) mod access_token;
mod key_file;
pub(super) mod service_account;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use shared::clock::Clock;

use self::access_token::{Account, Source};
use self::service_account::Identity;
use super::client::Route;
use super::client::pauses::Pauses;

/// The accounts in use, and the pauses of their projects. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct AccountCache {
    accounts: Arc<InUse<AccountName, Account>>,
    projects: Arc<InUse<String, Pauses>>,
}

type InUse<K, V> = Mutex<HashMap<K, Weak<V>>>;

#[derive(Debug, PartialEq, Eq, Hash)]
enum AccountName {
    Key(Identity),
    Metadata(String),
}

impl AccountCache {
    /// The account of `source`: one in use, or a new one.
    pub(super) fn account(&self, source: Source, route: &Route, clock: &Clock) -> Arc<Account> {
        let name = match &source {
            Source::ServiceAccount(account) => AccountName::Key(account.identity()),
            Source::Metadata(url) => AccountName::Metadata(url.to_string()),
        };
        let client = match &source {
            Source::ServiceAccount(_) => route.client(),
            // The metadata server belongs to the machine: the proxy cannot reach it.
            Source::Metadata(_) => route.direct_client(),
        };
        find_or_insert(&self.accounts, name, || Account::new(source, client, clock.clone()))
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
