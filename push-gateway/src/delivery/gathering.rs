//! The deliveries of one request, all under way at the same time, and what became of each.
//!
//! Invariant: a delivery that comes to grief takes no other with it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::outcome::{Trouble, Verdict};

/// The verdicts so far, each in its place. Clones share them.
#[derive(Clone)]
pub(super) struct Verdicts(Arc<Mutex<Vec<Option<Verdict>>>>);

impl Verdicts {
    /// None yet, of so many.
    pub(super) fn new(deliveries: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; deliveries])))
    }

    /// Brings all `deliveries` to their end, each for a place of its own.
    pub(super) async fn gather<F: Future<Output = Verdict>>(self, deliveries: Vec<F>) {
        let deliveries = deliveries.into_iter().enumerate().map(|(place, delivery)| async move {
            // What a delivery leaves behind when it panics is behind locks that do without their poison.
            (place, AssertUnwindSafe(delivery).catch_unwind().await)
        });
        let mut deliveries: FuturesUnordered<_> = deliveries.collect();
        while let Some((place, ended)) = deliveries.next().await {
            let verdict = ended.unwrap_or_else(|_| {
                tracing::error!("a delivery ended before its time");
                Err(Trouble::upstream("given_up", None))
            });
            self.lock()[place] = Some(verdict);
        }
    }

    /// What became of each; `missing` of those that have not ended.
    pub(super) fn so_far(&self, missing: Trouble) -> Vec<Verdict> {
        self.lock().iter().map(|verdict| verdict.clone().unwrap_or(Err(missing))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Verdict>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, FutureExt};

    use super::{Trouble, Verdict, Verdicts};
    use crate::providers::Outcome;

    #[tokio::test]
    async fn who_comes_to_grief_or_takes_too_long_spoils_nothing_for_the_others() {
        let verdicts = Verdicts::new(4);
        let done = || async { Ok(Outcome::Delivered) }.boxed();
        let deliveries: Vec<BoxFuture<'static, Verdict>> =
            vec![done(), async { panic!("on purpose") }.boxed(), std::future::pending().boxed(), done()];
        let gathering = tokio::spawn(verdicts.clone().gather(deliveries));
        let late = Trouble::upstream("deadline", None);
        while verdicts.so_far(late).iter().filter(|verdict| **verdict == Err(late)).count() > 1 {
            tokio::task::yield_now().await;
        }
        let given_up = Err(Trouble::upstream("given_up", None));
        let delivered = || Ok(Outcome::Delivered);
        assert_eq!(verdicts.so_far(late), [delivered(), given_up, Err(late), delivered()]);
        assert!(!gathering.is_finished());
    }
}
