//! One way to reach the devices of an app: a push service with its settings, metrics and circuits.
//!
//! Invariant: the labels of metrics name the push service that a device is routed to, not the type of its app.

use std::borrow::Cow;
use std::sync::OnceLock;

use metrics::Counter;

use super::metrics::delivery_counter;
use crate::providers::{DeliverySettings, Provider, ProviderContext, ProviderSettings, SetupError};

/// A push service as an app uses it.
pub(crate) struct Sender {
    pub(crate) type_name: &'static str,
    pub(crate) delivery: DeliverySettings,
    pub(crate) provider: Box<dyn Provider>,
    /// The circuit of devices whose pushkey names no push service.
    pub(crate) circuit_key: String,
    /// The name for the mass-rejection guard: dead endpoints never open the guard of the app's own type.
    pub(crate) guard_name: String,
    app: String,
    delivered: OnceLock<Counter>,
}

impl Sender {
    /// `is_own`: whether this is the push service of the app's type.
    ///
    /// # Errors
    /// [`SetupError`] if the provider cannot be made.
    pub(super) fn new(
        app: &str,
        settings: &dyn ProviderSettings,
        is_own: bool,
        context: &ProviderContext,
    ) -> Result<Self, SetupError> {
        let (provider, type_name) = (settings.provider(app, context)?, settings.type_name());
        Ok(Self {
            type_name,
            delivery: settings.delivery(),
            circuit_key: provider.circuit_key(),
            provider,
            guard_name: if is_own { app.to_owned() } else { format!("{app} ({type_name})") },
            app: app.to_owned(),
            delivered: OnceLock::new(),
        })
    }

    /// The circuit of the device with this canonical pushkey.
    pub(crate) fn circuit_of(&self, pushkey: &str) -> Cow<'_, str> {
        self.provider.circuit_of(pushkey).map_or(Cow::Borrowed(&self.circuit_key), Cow::Owned)
    }

    /// Counts a delivery by its outcome.
    pub(crate) fn count_delivery(&self, outcome: &'static str, reason: &'static str) {
        let counter = || delivery_counter(&self.app, self.type_name, outcome, reason);
        match (outcome, reason) {
            ("delivered", "") => self.delivered.get_or_init(counter).increment(1),
            _ => counter().increment(1),
        }
    }
}
