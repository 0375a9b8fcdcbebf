//! The accounts whose access tokens authenticate requests, shared by all apps of a process.
//!
//! Invariant: an account or a project lives as long as an app that uses it, across reloads of the configuration.

mod external_account;
mod key_file;
mod service_account;
pub(super) mod source;
mod token_exchange;

use std::sync::Arc;

use shared::clock::{Clock, Timestamp};

use self::source::{Source, SourceName};
use super::client::pauses::Pauses;
use crate::providers::access_token::grant::Grant;
use crate::providers::access_token::{Account, TokenSource};
use crate::providers::in_use::InUse;
use crate::providers::transport::Route;
use crate::upstream::origins::Origins;

/// The accounts in use, and the pauses of their projects. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct AccountCache {
    accounts: Arc<InUse<SourceName, GoogleAccount>>,
    projects: Arc<InUse<String, Pauses>>,
}

/// An account of Google with its access token.
pub(super) type GoogleAccount = Account<Tokens>;

/// A source of access tokens, with the clients for its requests.
pub(super) struct Tokens {
    source: Source,
    clients: Clients,
}

/// The clients for requests to Google, and for those to the machine.
struct Clients {
    google: Origins,
    /// The proxy cannot reach the metadata server of the machine.
    machine: Origins,
}

impl TokenSource for Tokens {
    const PROBLEM: &'static str =
        "no access token for Google: check the service account, the clock and the connection to Google";
    const NOTE: &'static str = "Google gives its account no access token: nothing is delivered to this app";

    async fn request(&self, now: Timestamp) -> Result<Grant, String> {
        self.source.request(&self.clients, now).await
    }
}

impl AccountCache {
    /// The account of `source`: one in use, or a new one.
    pub(super) fn account(&self, source: Source, route: &Route, clock: &Clock) -> Arc<GoogleAccount> {
        let clients = || Clients { google: route.client(), machine: route.direct_client() };
        let name = source.name();
        self.accounts.find_or_insert(name, || Account::new(Tokens { source, clients: clients() }, clock.clone()))
    }

    /// The pauses of the project whose messages go to `url`.
    pub(super) fn pauses(&self, url: &str, clock: &Clock) -> Arc<Pauses> {
        self.projects.find_or_insert(url.to_owned(), || Pauses::new(clock.clone()))
    }
}
