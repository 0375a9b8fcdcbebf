//! The mail relay and the SMS providers.
//!
//! Invariant: without `--to` no mail is sent, and no SMS in any case.

use shared::clock::Clock;
use shared::doctor::Report;
use shared::random::Random;

use crate::config::Config;
use crate::config::email::Transport;
use crate::domain::threepid::{Medium, ThreePid};
use crate::mail_delivery::advice;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;

const RELAY: &str = "mail relay";
const MAIL: &str = "test mail";
const SMS: &str = "SMS";

pub(super) async fn relay(report: &mut Report, config: &Config, to: Option<&str>) {
    let identity = config.server.identity(None);
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    let mailer = match Mailer::new(&config.email, &identity.name, extra_ca, Clock::system(), Random) {
        Ok(mailer) => mailer,
        Err(error) => return report.failed(RELAY, error.to_string(), "correct the setting"),
    };
    let relay = match &config.email.transport {
        Transport::Smtp(relay) => relay,
        Transport::File(folder) => {
            return report.note(RELAY, format!("none: mail is written into {}; set [email] host", folder.display()));
        }
        Transport::Disabled => return report.skipped(RELAY, "[email] enabled is false"),
    };
    match mailer.check_online().await {
        None => return,
        Some(Ok(())) => {
            let login = if relay.login.is_some() { "accepts the login" } else { "accepts connections without a login" };
            report.good(RELAY, format!("{}:{} {login}", relay.host, relay.port));
        }
        Some(Err(error)) => {
            let cause = format!("{}:{}: {error}", relay.host, relay.port);
            return report.failed(RELAY, cause, advice(&error));
        }
    }
    let Some(to) = to else {
        return report.skipped(MAIL, "give --to and an address to send one");
    };
    match send(config, &mailer, to).await {
        Ok(()) => report.good(MAIL, format!("the relay accepted a mail to {to}")),
        Err((cause, next_step)) => report.failed(MAIL, cause, next_step),
    }
}

/// Sends the test mail.
///
/// # Errors
/// The cause, and the next step.
async fn send(config: &Config, mailer: &Mailer, to: &str) -> Result<(), (String, &'static str)> {
    const ADDRESS: &str = "give --to the address of a mailbox, such as you@example.org";
    let address = ThreePid::canonical(Medium::Email, to).map_err(|error| (format!("{to}: {error}"), ADDRESS))?;
    if !config.email.permits(address.recipient()) {
        let cause = format!("[email] allow_domains or deny_domains excludes {to}: users with it get M_INVALID_EMAIL");
        return Err((cause, "give --to an address of another domain, or change these keys"));
    }
    let identity = config.server.identity(None);
    let text = format!(
        "This is a test mail of the identity server at {}. Its operator has sent it with `identity doctor --to`.\n\nIf you did \
         not expect it, ignore it.\n",
        identity.base_url
    );
    let mail = mailer.compose_plain(address.recipient(), "Test mail of the identity server", &text);
    let mail = mail.map_err(|error| (error.to_string(), ADDRESS))?;
    mailer.send(&mail).await.map_err(|error| (error.to_string(), advice(&error)))
}

pub(super) async fn sms(report: &mut Report, config: &Config) {
    if !config.sms.sends() {
        return report.skipped(SMS, "no country is allowed in [sms.rules], or [sms] provider is empty");
    }
    let sender = match SmsSender::new(&config.sms, config.outbound.extra_ca_file.as_deref(), Clock::system()) {
        Ok(sender) => sender,
        Err(error) => return report.failed(SMS, error.to_string(), "correct the setting"),
    };
    for (provider, result) in sender.check_online().await {
        let subject = format!("{SMS}, {}", provider.as_str());
        match result {
            Some(Ok(())) => report.good(&subject, "the provider accepts the credential"),
            Some(Err(cause)) => {
                let next_step = if ["401", "403", "404"].iter().any(|status| cause.contains(status)) {
                    format!("check the keys of [sms.{}]", provider.as_str())
                } else {
                    format!(
                        "check [sms.{}] url, the way to it ([sms] proxy, a firewall), and the provider's page about outages",
                        provider.as_str()
                    )
                };
                report.failed(&subject, cause, next_step);
            }
            None => report.skipped(&subject, "its credential shows only with an SMS: identity test-sms --to NUMBER"),
        }
    }
}
