//! What apps have in common: an account's token, and the pauses that Google asks of a project.
//!
//! Invariant: an account or a project lives as long as an app that uses it, across reloads of the configuration.

pub(super) mod access_token;
pub(super) mod service_account;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shared::clock::Clock;
use shared::random::Random;

use self::access_token::{Account, Source};
use self::service_account::Identity;
use super::client::Route;
use super::client::pauses::Pauses;

/// The accounts and projects in use. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountCache {
    accounts: Arc<Shelf<AccountName, Account>>,
    projects: Arc<Shelf<String, Pauses>>,
}

type Shelf<K, V> = Mutex<HashMap<K, Weak<V>>>;

#[derive(Debug, PartialEq, Eq, Hash)]
enum AccountName {
    Key(Identity),
    Metadata(String),
}

impl AccountCache {
    /// The account of `source`: the one that is in use already, or a new one.
    pub(super) fn account(&self, source: Source, route: &Route, clock: &Clock) -> Arc<Account> {
        let name = match &source {
            Source::ServiceAccount(account) => AccountName::Key(account.identity()),
            Source::Metadata(url) => AccountName::Metadata(url.to_string()),
        };
        let client = match &source {
            Source::ServiceAccount(_) => route.client(),
            // The metadata server is the machine's own; no proxy leads there.
            Source::Metadata(_) => route.direct_client(),
        };
        find_or_insert(&self.accounts, name, || Account::new(source, client, clock.clone()))
    }

    /// The pauses of the project whose messages go to `url`.
    pub(super) fn pauses(&self, url: &str, clock: &Clock, random: Random) -> Arc<Pauses> {
        find_or_insert(&self.projects, url.to_owned(), || Pauses::new(clock.clone(), random))
    }
}

fn find_or_insert<K: Eq + Hash, V>(shelf: &Shelf<K, V>, key: K, new: impl FnOnce() -> V) -> Arc<V> {
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.retain(|_, value| value.strong_count() > 0);
    if let Some(value) = shelf.get(&key).and_then(Weak::upgrade) {
        return value;
    }
    let value = Arc::new(new());
    shelf.insert(key, Arc::downgrade(&value));
    value
}
