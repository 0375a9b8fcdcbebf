//! The terms of service: whether an account has accepted them, and its doing so.
//!
//! Invariant: only URLs that the terms hold today are remembered.

use std::collections::{BTreeSet, HashSet};

use crate::domain::mxid::UserId;
use crate::domain::terms::Terms;
use crate::error::Error;
use crate::state::State;
use crate::store::accepted_terms;

/// Lets an account pass that has accepted every required policy, each in some language.
///
/// # Errors
/// [`Error::TermsNotSigned`] if it has not.
pub async fn require_acceptance(state: &State, mxid: &UserId) -> Result<(), Error> {
    let terms = state.terms.read();
    if terms.satisfied(&HashSet::new()) {
        return Ok(());
    }
    let mxid = mxid.clone();
    let accepted = state.store.read(async move |conn| accepted_terms::list(conn, &mxid).await).await?;
    if terms.satisfied(&accepted.into_iter().collect()) { Ok(()) } else { Err(Error::TermsNotSigned) }
}

/// Adds to what the account has accepted; URLs that are not of these terms are ignored.
///
/// # Errors
/// Those of the store.
pub async fn accept_terms(state: &State, mxid: &UserId, urls: &[&str]) -> Result<(), Error> {
    let terms = state.terms.read();
    let known = known(&terms, urls);
    let (mxid, now) = (mxid.clone(), state.clock.now());
    if !known.is_empty() {
        state.store.write(async move |conn| accepted_terms::insert(conn, &mxid, &known, now).await).await?;
    }
    Ok(())
}

/// Each URL that is of these terms, once: a list that says the same a thousand times must not cost a thousand writes.
fn known(terms: &Terms, urls: &[&str]) -> Vec<String> {
    let distinct: BTreeSet<&str> = urls.iter().copied().collect();
    distinct.into_iter().filter(|url| terms.known(url)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{Terms, known};

    #[test]
    fn a_url_counts_once_however_often_it_is_said_and_unknown_ones_not_at_all() {
        let text = r#"{"policies":{"p":{"version":"1","en":{"name":"P","url":"https://p.example/en"}}}}"#;
        let terms = Terms::parse(text).unwrap();
        let urls = ["https://p.example/en", "https://else.example", "https://p.example/en", ""];
        assert_eq!(known(&terms, &urls), ["https://p.example/en"]);
    }
}
