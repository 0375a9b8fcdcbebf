//! What an operator should know of a configuration before users depend on it.
//!
//! Invariant: a configuration that is fit for production has no notice.

use shared::config::exposure_notice;

use super::Config;
use super::legacy_v1::Profile;

/// The keys of files without a secret, or with notices of their own.
const PUBLIC_FILES: [&str; 6] =
    ["http.tls_cert_file", "http.tls_key_file", "outbound.extra_ca_file", "terms.file", "keys.file", "sms.log.file"];

impl Config {
    /// What an operator should know of this configuration before users depend on it; one line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.source.notices.clone();
        notices.extend(self.server.notices());
        notices.extend(self.server.path_notice(self.http.base_path.as_str()));
        // Profile "full" has a notice of its own, and no registration.
        if self.legacy_v1.profile != Profile::Full {
            notices.extend(self.registration.notice());
        }
        notices.extend(self.lookup.notice());
        let public_host = self.server.public_host().filter(|_| !self.server.allow_http_base_url);
        notices.extend(self.invites.notice(public_host.as_deref()));
        notices.extend(self.invites.keyword_notice());
        notices.extend(self.admin.notices());
        notices.extend(self.proxy_notice());
        notices.extend(self.email.notices());
        notices.extend(self.sms.notices());
        if self.sms.sends() && self.sms.timeout >= self.http.shutdown_timeout {
            notices.push(
                "[sms] timeout is not shorter than [http] shutdown_timeout: a stop may interrupt an SMS, whose result is \
                 unknown then; shorten it"
                    .to_owned(),
            );
        }
        if self.sessions.next_link_hosts.matches("any.example") {
            notices.push(
                "every https site is allowed as next_link; set [sessions] next_link_hosts to the hosts of your clients"
                    .to_owned(),
            );
        }
        if !self.federation.tls_verify {
            notices.push(
                "INSECURE: [federation] tls_verify is off: anyone on the network path can impersonate any homeserver"
                    .to_owned(),
            );
        }
        if !self.limits.enabled {
            notices.push("INSECURE: [limits] enabled is off: clients can send mail and SMS without limit".to_owned());
        }
        notices.extend(self.legacy_v1.notice());
        let may_be_behind_proxy = self.http.trusted_proxies.is_empty() && self.http.tls_cert_file.is_none();
        notices.extend(self.legacy_v1.delegate_notice(may_be_behind_proxy));
        notices.extend(self.outbound.notices());
        notices.extend(self.database.notice());
        notices.extend(exposure_notice("keys.file", &self.keys.file));
        for (key, file) in &self.source.named_files {
            if !PUBLIC_FILES.contains(&key.as_str()) {
                notices.extend(exposure_notice(key, file));
            }
        }
        notices.extend(self.http.notices());
        notices
    }

    /// A listener on this machine alone is reached through a reverse proxy, unless the server is tried on one machine.
    fn proxy_notice(&self) -> Option<String> {
        let http = &self.http;
        let is_behind_proxy = http.bind.as_slice().iter().all(|address| address.ip().is_loopback());
        let is_public = self.server.public_host().is_some() && !self.server.allow_http_base_url;
        (is_behind_proxy && is_public && http.trusted_proxies.is_empty()).then(|| {
            "[http] trusted_proxies is empty: all clients behind your reverse proxy share one limit; set it to the address \
             of the proxy, such as [\"127.0.0.1\"]"
                .to_owned()
        })
    }
}
