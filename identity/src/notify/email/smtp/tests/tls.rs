//! TLS and the certificates of relays.

use std::io::Write as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use shared::secret::Secret;
use tokio_rustls::TlsAcceptor;

use super::{Authority, Behaviour, Seen, acceptor, config, mail, mailer, relay, send_one};
use crate::config::email::{RawEmail, TlsMode};
use crate::notify::email::{Refusal, SendError};

/// Sends one mail by STARTTLS and one by TLS from the start, to relays with this certificate.
async fn send_in_both_ways(
    acceptor: &TlsAcceptor,
    authority: &Authority,
) -> Vec<(TlsMode, Result<(), SendError>, Seen)> {
    let mut results = Vec::new();
    for tls in [TlsMode::Starttls, TlsMode::Tls] {
        let behaviour = Behaviour {
            acceptor: Some(acceptor.clone()),
            tls_from_the_start: tls == TlsMode::Tls,
            extensions: &["STARTTLS"],
            ..Behaviour::default()
        };
        let (sent, seen) = send_one(behaviour, tls, Some(authority)).await;
        results.push((tls, sent, seen));
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_both_ways_is_used_with_a_certificate_of_a_known_authority() {
    let authority = Authority::new();
    let acceptor = Some(authority.acceptor("localhost"));
    let starttls = Behaviour { acceptor: acceptor.clone(), extensions: &["STARTTLS"], ..Behaviour::default() };
    let (sent, seen) = send_one(starttls, TlsMode::Starttls, Some(&authority)).await;
    assert_eq!((sent, seen.mails().len()), (Ok(()), 1));
    assert_eq!(seen.lines()[..3], ["EHLO id.example.org", "STARTTLS", "EHLO id.example.org"]);
    let from_the_start = Behaviour { acceptor, tls_from_the_start: true, ..Behaviour::default() };
    let (sent, seen) = send_one(from_the_start, TlsMode::Tls, Some(&authority)).await;
    assert_eq!((sent, seen.mails().len()), (Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_refused_before_anything_is_said() {
    let authority = Authority::new();
    let mut expired = CertificateParams::new(vec![String::from("localhost")]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![String::from("localhost")]).unwrap().self_signed(&own_key).unwrap();
    let cases = [
        ("self-signed and not named", acceptor(own.der().clone(), &own_key)),
        ("another name", authority.acceptor("elsewhere.example")),
        ("a wildcard for another level", authority.acceptor("*.localhost")),
        ("expired", authority.acceptor_with(&expired)),
        ("another authority", Authority::new().acceptor("localhost")),
    ];
    for (case, acceptor) in cases {
        for (_, sent, seen) in send_in_both_ways(&acceptor, &authority).await {
            let Err(SendError::Refused(Refusal::Connect(detail))) = sent else { panic!("{case}: {sent:?}") };
            assert!(detail.contains("certificate"), "{case}: {detail}");
            assert!(!seen.saw("MAIL") && seen.mails().is_empty(), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_that_the_operator_names_is_trusted_for_its_own_name() {
    for (name, is_ca, is_current, is_trusted) in [
        ("localhost", true, true, true),
        ("localhost", false, true, true),
        ("elsewhere.example", true, true, false),
        ("localhost", true, false, false),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        if !is_current {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let key = KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        let acceptor = acceptor(issuer.der().clone(), &key);
        let authority = Authority { issuer, file };
        for (tls, sent, _) in send_in_both_ways(&acceptor, &authority).await {
            assert_eq!(sent.is_ok(), is_trusted, "{name}, CA: {is_ca}, current: {is_current}, {tls:?}: {sent:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_starttls_gets_no_login_and_no_mail() {
    let (port, seen) = relay(Behaviour { extensions: &["AUTH PLAIN LOGIN"], ..Behaviour::default() }).await;
    let login = (Some("user".into()), Some(Secret::new(String::from("hunter2"))));
    let config = RawEmail { username: login.0, password: login.1, ..config(port, TlsMode::Starttls) };
    let sent = mailer(config, None).send(&mail("bob@example.com", "hi\r\n")).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Connect(_)))), "{sent:?}");
    assert!(!seen.saw("MAIL") && !seen.saw("AUTH") && !seen.saw("HELO") && seen.mails().is_empty());
    // The same if it lists STARTTLS and then rejects it.
    let (sent, seen) =
        send_one(Behaviour { extensions: &["STARTTLS"], ..Behaviour::default() }, TlsMode::Starttls, None).await;
    assert_eq!(sent, Err(SendError::Refused(Refusal::Connect(String::from("reply 500")))));
    assert!(!seen.saw("MAIL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_that_was_slipped_in_before_tls_is_no_reply() {
    let authority = Authority::new();
    let behaviour = Behaviour {
        acceptor: Some(authority.acceptor("localhost")),
        extensions: &["STARTTLS"],
        injected: "250-relay.test\r\n250 AUTH PLAIN\r\n",
        ..Behaviour::default()
    };
    let (sent, seen) = send_one(behaviour, TlsMode::Starttls, Some(&authority)).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Connect(_)))), "{sent:?}");
    assert!(!seen.saw("MAIL"));
}
