//! What became of a device, and what becomes of a request with many of them.
//!
//! Invariant: one device that is still owed something makes the whole answer an error, because a 200 would end the
//! homeserver's tries; what was delivered meanwhile is in the memory.

use std::collections::HashSet;
use std::time::Duration;

use crate::http::error::{Owed, OwedStatus};
use crate::providers::Outcome;

/// A device's end: settled, or in trouble.
pub(crate) type Verdict = Result<Outcome, Trouble>;

/// Why a device is still owed the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Whose fault it is.
    pub(crate) kind: OwedStatus,
    /// Until it is worth trying again, if known.
    pub(crate) retry_after: Option<Duration>,
    /// What it is, for logs and metrics: from a closed set.
    pub(crate) reason: &'static str,
    /// Whether no attempt can help before the operator has changed something.
    pub(crate) is_permanent: bool,
}

impl Trouble {
    /// Trouble on the way to the provider.
    pub(crate) fn upstream(reason: &'static str, retry_after: Option<Duration>) -> Self {
        Self { kind: OwedStatus::Upstream, retry_after, reason, is_permanent: false }
    }

    /// Our key, topic, project or configuration is wrong.
    pub(crate) fn permanent(reason: &'static str) -> Self {
        Self { is_permanent: true, ..Self::upstream(reason, None) }
    }

    /// There is too much to do.
    pub(crate) fn overloaded() -> Self {
        let Owed { status: kind, retry_after } = Owed::OVERLOADED;
        Self { kind, ..Self::upstream("overloaded", retry_after) }
    }

    /// The device gets too much.
    pub(crate) fn rate_limited(retry_after: Duration) -> Self {
        Self { kind: OwedStatus::RateLimited, ..Self::upstream("rate_limited", Some(retry_after)) }
    }
}

/// The name of a verdict and the reason for it, for logs and metrics: both from closed sets.
pub(crate) fn outcome(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Ok(Outcome::Delivered) => ("delivered", ""),
        Ok(Outcome::Dropped(reason)) => ("dropped", reason),
        Ok(Outcome::Rejected(rejection)) => ("rejected", rejection.reason),
        Err(Trouble { is_permanent: true, reason, .. }) => ("permanent", reason),
        Err(Trouble { is_permanent: false, reason, .. }) => ("temporary", reason),
    }
}

/// One answer from the verdicts on `pushkeys`, in the same order.
pub(crate) fn merge(pushkeys: &[String], verdicts: &[Verdict]) -> Result<Vec<String>, Owed> {
    let troubles: Vec<&Trouble> = verdicts.iter().filter_map(|verdict| verdict.as_ref().err()).collect();
    if let Some(first) = troubles.first() {
        let is_uniform = troubles.iter().all(|trouble| trouble.kind == first.kind);
        return Err(Owed {
            status: if is_uniform { first.kind } else { OwedStatus::Upstream },
            retry_after: troubles.iter().filter_map(|trouble| trouble.retry_after).max(),
        });
    }
    let is_rejected = |verdict: &Verdict| matches!(verdict, Ok(Outcome::Rejected(_)));
    let with = |rejected: bool| {
        let of_that_kind = pushkeys.iter().zip(verdicts).filter(move |(_, verdict)| is_rejected(verdict) == rejected);
        of_that_kind.map(|(pushkey, _)| pushkey)
    };
    // A homeserver knows pushkeys, not apps: one that lives in another app must not be told of. And each only once.
    let mut left_out: HashSet<&String> = with(false).collect();
    Ok(with(true).filter(|pushkey| left_out.insert(*pushkey)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Owed, OwedStatus, Trouble, Verdict, merge};
    use crate::providers::{Certainty, Outcome, Rejection};

    fn rejected() -> Verdict {
        Ok(Outcome::Rejected(Rejection { reason: "Unregistered", certainty: Certainty::Certain }))
    }

    fn trouble(kind: OwedStatus, seconds: Option<u64>) -> Verdict {
        Err(Trouble { kind, ..Trouble::upstream("x", seconds.map(Duration::from_secs)) })
    }

    fn merged(verdicts: &[(&str, Verdict)]) -> Result<Vec<String>, Owed> {
        let (pushkeys, verdicts): (Vec<_>, Vec<_>) =
            verdicts.iter().map(|(pushkey, verdict)| ((*pushkey).to_owned(), verdict.clone())).unzip();
        merge(&pushkeys, &verdicts)
    }

    #[test]
    fn rejected_pushkeys_keep_their_order_and_come_once() {
        let verdicts = [
            ("b", rejected()),
            ("x", Ok(Outcome::Delivered)),
            ("a", rejected()),
            ("b", rejected()),
            ("y", Ok(Outcome::Dropped("z"))),
        ];
        assert_eq!(merged(&verdicts), Ok(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(merged(&[]), Ok(vec![]));
        // The same text may be a pushkey of two apps.
        assert_eq!(
            merged(&[("a", rejected()), ("b", rejected()), ("a", Ok(Outcome::Delivered))]),
            Ok(vec!["b".into()])
        );
    }

    #[test]
    fn one_trouble_hides_all_rejections_and_the_longest_wait_is_told() {
        let owed = |status, seconds: Option<u64>| Err(Owed { status, retry_after: seconds.map(Duration::from_secs) });
        let up = OwedStatus::Upstream;
        let over = OwedStatus::Overloaded;
        assert_eq!(merged(&[("a", rejected()), ("b", trouble(up, None))]), owed(up, None));
        assert_eq!(merged(&[("a", trouble(over, Some(1))), ("b", trouble(over, Some(5)))]), owed(over, Some(5)));
        assert_eq!(merged(&[("a", trouble(over, Some(1))), ("b", trouble(up, None))]), owed(up, Some(1)));
        assert_eq!(
            merged(&[("a", trouble(OwedStatus::RateLimited, Some(9999)))]),
            owed(OwedStatus::RateLimited, Some(9999))
        );
    }
}
