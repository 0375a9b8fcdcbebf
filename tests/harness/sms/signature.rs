//! AWS Signature Version 4, verified (AWS IAM User Guide, *Create a signed AWS API request*).
//!
//! Invariant: the hash is that of the body that came, the host is the one that was called, and the time is ours within
//! five minutes.
//!
//! After <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use shared::clock::Timestamp;

use super::exchange::hex;
use crate::fake::Request;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// Who may sign, and for what.
pub(super) struct Account {
    pub(super) id: &'static str,
    pub(super) secret: &'static str,
    pub(super) region: &'static str,
    pub(super) service: &'static str,
}

/// The error's code, and words for people.
type Flaw = (&'static str, String);

/// What an `Authorization` header says.
struct Claim<'a> {
    /// Day, region, service, `aws4_request`.
    scope: &'a str,
    id: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// What is wrong with the signature of `request`.
pub(super) fn check(request: &Request, now: Timestamp, account: &Account) -> Result<(), Flaw> {
    let mismatch = |text: String| Err(("SignatureDoesNotMatch", text));

    let Some(header) = request.header("authorization") else {
        return Err(("MissingAuthenticationToken", "not signed".into()));
    };
    let incomplete = || ("IncompleteSignature", format!("no signature: {header}"));
    let claim = Claim::parse(header).ok_or_else(incomplete)?;
    let date = request.header("x-amz-date").ok_or_else(incomplete)?;
    let time = seconds(date).ok_or_else(incomplete)?;
    if claim.id != account.id {
        return Err(("InvalidClientTokenId", format!("no such key: {}", claim.id)));
    }
    let scope = format!("{}/{}/{}/aws4_request", &date[..8], account.region, account.service);
    if claim.scope != scope {
        return mismatch(format!("the scope is {}, not {scope}", claim.scope));
    }
    let skew = (now.as_millis() / 1000).abs_diff(time);
    if skew > MAX_SKEW.as_secs() {
        return mismatch(format!("the clock differs by {skew} s"));
    }
    let mut sorted = claim.signed.clone();
    sorted.sort_unstable();
    if sorted != claim.signed {
        return mismatch("the signed headers are not sorted".into());
    }
    let amazons = request.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-"));
    for required in amazons.chain(["host"]) {
        if !claim.signed.contains(&required) {
            return mismatch(format!("{required} is not signed"));
        }
    }
    let expected = signature(account, date, &canonical(request, &claim.signed));
    if expected != claim.signature {
        return mismatch("another signature was calculated".into());
    }
    Ok(())
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let mut fields = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',').map(str::trim);
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let (id, scope) = field("Credential")?.split_once('/')?;
        let signed = field("SignedHeaders")?.split(';').collect();
        let signature = field("Signature")?;
        fields.next().is_none().then_some(Self { scope, id, signed, signature })
    }
}

/// The request in the form that is hashed.
fn canonical(request: &Request, signed: &[&str]) -> String {
    let mut query: Vec<&str> = request.query().split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    let headers: String = signed
        .iter()
        .map(|name| {
            let values = request.headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
            let values: Vec<String> = values.map(|value| words(value).join(" ")).collect();
            format!("{name}:{}\n", values.join(","))
        })
        .collect();
    let hash = hex(digest::digest(&digest::SHA256, &request.body).as_ref());
    [&request.method, request.path(), &query.join("&"), &headers, &signed.join(";"), &hash].join("\n")
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

fn signature(account: &Account, date: &str, canonical: &str) -> String {
    let Account { secret, region, service, .. } = account;
    let day = &date[..8];
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = sign(&key, part);
    }
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    hex(&sign(&key, &format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{hash}")))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Seconds since 1970 of a time like `20150830T123600Z`.
fn seconds(date: &str) -> Option<i64> {
    let is_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    if day.len() != 8 || time.len() != 6 || !is_digits(day) || !is_digits(time) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month, day) = (number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?);
    let (hour, minute, second) = (number(&time[..2])?, number(&time[2..4])?, number(&time[4..])?);
    if !(1970..10000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the day that comes and goes is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86400 + hour * 3600 + minute * 60 + second)
}
