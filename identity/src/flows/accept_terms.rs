//! Stores that an account accepts the terms of service.
//!
//! Invariant: only URLs of the current terms are stored.

use std::collections::BTreeSet;

use crate::domain::mxid::UserId;
use crate::domain::terms::Terms;
use crate::error::Error;
use crate::state::State;
use crate::store::accepted_terms;

/// Adds to the accepted URLs of the account; URLs outside the current terms are ignored.
///
/// # Errors
/// [`Error::Store`].
pub async fn accept_terms(state: &State, mxid: &UserId, urls: &[&str]) -> Result<(), Error> {
    let known = known(&state.terms, urls);
    let (mxid, now) = (mxid.clone(), state.clock.now());
    if !known.is_empty() {
        state.store.write(async move |conn| accepted_terms::insert(conn, &mxid, &known, now).await).await?;
    }
    Ok(())
}

/// The URLs of these terms, each once: a list that repeats one URL a thousand times must not cost a thousand writes.
fn known(terms: &Terms, urls: &[&str]) -> Vec<String> {
    let distinct: BTreeSet<&str> = urls.iter().copied().collect();
    distinct.into_iter().filter(|url| terms.known(url)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{Terms, known};

    #[test]
    fn a_repeated_url_counts_once_and_an_unknown_one_is_ignored() {
        let text = r#"{"policies":{"p":{"version":"1","en":{"name":"P","url":"https://p.example/en"}}}}"#;
        let terms = Terms::parse(text).unwrap();
        let urls = ["https://p.example/en", "https://else.example", "https://p.example/en", ""];
        assert_eq!(known(&terms, &urls), ["https://p.example/en"]);
    }
}
