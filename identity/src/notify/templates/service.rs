//! Who runs this server, and where: the values that every template has.

use url::Url;

use super::locale::Locale;
use super::variables::Variables;
use crate::config::operator::Operator;

/// The operator and the address of this server.
#[derive(Debug)]
pub(super) struct Service {
    /// `[server] operator`.
    pub(super) operator: Option<String>,
    /// `[server] public_base_url`.
    pub(super) base_url: String,
    host: String,
    help_url: String,
    privacy_url: String,
}

impl Service {
    pub(super) fn new(operator: &Operator, base_url: &str) -> Self {
        let host = Url::parse(base_url).ok().and_then(|url| Some(url.host_str()?.to_owned()));
        Self {
            operator: operator.name.clone(),
            base_url: base_url.to_owned(),
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            help_url: operator.help_url.clone().unwrap_or_default(),
            privacy_url: operator.privacy_url.clone().unwrap_or_default(),
        }
    }

    /// Sets the language and the values of this server.
    pub(super) fn describe(&self, locale: &Locale, variables: &mut Variables) {
        for (name, value) in [
            ("lang", locale.tag()),
            ("dir", locale.direction()),
            ("operator", self.operator.as_deref().unwrap_or(&self.host)),
            ("host", &self.host),
            ("help_url", &self.help_url),
            ("privacy_url", &self.privacy_url),
        ] {
            variables.set(name, value);
        }
        match &self.operator {
            Some(operator) => variables.set_pair("service", operator, &self.host),
            None => variables.set("service", &self.host),
        }
    }
}
