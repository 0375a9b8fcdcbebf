//! Rotates the pepper of the lookup hashes: each process takes the steps that are due, and `identity rotate-pepper` one
//! whole rotation.
//!
//! Invariant: a step is one guarded transaction, so that any process may take it, and only one does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::clock::Clock;
use shared::random::Random;

use crate::domain::lookup_hash::{LookupDigests, Pepper};
use crate::domain::pepper::{Peppers, Phase, PhasedPepper, RotationSettings, Step};
use crate::state::CurrentState;
use crate::store::associations::rehash;
use crate::store::{AddressKey, Store, StoreError, peppers};

/// How often a process looks for a step that is due.
const INTERVAL: Duration = Duration::from_secs(1);
/// Associations that one transaction gives new digests: a larger one would block writers for too long.
const PAGE: i64 = 500;

/// Rotates the pepper until the process ends.
pub async fn run(current: Arc<CurrentState>) {
    let state = current.load();
    let settings = state.config.lookup.rotation();
    let mut rotation = Rotation::new(state.store.clone(), state.clock.clone(), state.random, settings);
    drop(state);
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut has_failed = false;
    loop {
        interval.tick().await;
        let state = current.load();
        rotation.settings = state.config.lookup.rotation();
        // During an outage of the database no step is possible.
        let Some(peppers) = state.memory.peppers() else { continue };
        #[expect(clippy::cast_precision_loss, reason = "an age stays below 2^53 milliseconds")]
        metrics::gauge!("identity_pepper_age_seconds")
            .set(state.clock.now().since(peppers.current().since).as_millis() as f64 / 1000.0);
        let advanced = rotation.advance(&peppers).await;
        if let Err(error) = &advanced
            && !has_failed
        {
            tracing::warn!(%error, "rotation of the pepper failed; it is retried every second");
        }
        has_failed = advanced.is_err();
    }
}

/// What one process knows of a rotation.
pub struct Rotation {
    store: Store,
    clock: Clock,
    random: Random,
    settings: RotationSettings,
    /// Since when this process has known each pepper in its phase.
    known: HashMap<(i64, Phase), Instant>,
    /// The position of another process that prepares the pepper, or of this one.
    progress: Option<Option<AddressKey>>,
}

impl Rotation {
    pub fn new(store: Store, clock: Clock, random: Random, settings: RotationSettings) -> Self {
        Self { store, clock, random, settings, known: HashMap::new(), progress: None }
    }

    /// Takes the step that is due, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]; the step is due again.
    pub async fn advance(&mut self, peppers: &Peppers) -> Result<(), StoreError> {
        self.advance_at(peppers, Instant::now()).await
    }

    /// Inserts a new pepper now. False while a rotation is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prepare(&self) -> Result<bool, StoreError> {
        let (fresh, now) = (Pepper::draw(self.random), self.clock.now());
        let is_prepared = self.store.write(async move |conn| peppers::prepare(conn, &fresh, now).await).await?;
        if is_prepared {
            tracing::info!("a new pepper is being prepared");
        }
        Ok(is_prepared)
    }

    async fn advance_at(&mut self, peppers: &Peppers, instant: Instant) -> Result<(), StoreError> {
        self.known.retain(|key, _| peppers.iter().any(|pepper| (pepper.number, pepper.phase) == *key));
        for pepper in peppers.iter() {
            self.known.entry((pepper.number, pepper.phase)).or_insert(instant);
        }
        let held = |pepper: &PhasedPepper| {
            let since = self.known.get(&(pepper.number, pepper.phase));
            since.map(|since| instant.saturating_duration_since(*since)).unwrap_or_default()
        };
        let now = self.clock.now();
        let (number, from, to) = match peppers.step(now, self.settings, held) {
            None => return Ok(()),
            Some(Step::Prepare) => return self.prepare().await.map(drop),
            Some(Step::Rehash(pepper)) => return self.rehash(&pepper.clone()).await,
            Some(Step::Switch { accepted, current }) => {
                let (accepted, current) = (accepted.number, current.number);
                let switched = self.store.write(async move |conn| peppers::switch(conn, accepted, current, now).await);
                if switched.await? {
                    tracing::info!(
                        "the new pepper is advertised; the former one is accepted for [lookup] pepper_grace"
                    );
                }
                return Ok(());
            }
            Some(Step::End(pepper)) => (pepper.number, Phase::Former, Some(Phase::Ending)),
            Some(Step::Delete(pepper)) => (pepper.number, Phase::Ending, None),
        };
        let changed = self.store.write(async move |conn| match to {
            Some(to) => peppers::save_phase(conn, number, from, to, now).await,
            None => peppers::delete(conn, number).await,
        });
        if changed.await? && to.is_some() {
            tracing::info!("the former pepper is not accepted any more");
        }
        Ok(())
    }

    /// Stores the digests of the associations under `pepper`, unless another process does.
    async fn rehash(&mut self, pepper: &PhasedPepper) -> Result<(), StoreError> {
        let number = pepper.number;
        let at = self.store.read(async move |conn| peppers::find_progress(conn, number).await).await?;
        // One that has not moved since the last look has no process that moves it.
        if self.progress.as_ref() != Some(&at) {
            self.progress = Some(at);
            return Ok(());
        }
        self.progress = None;
        let began = Instant::now();
        let mut position = at;
        loop {
            let page_began = Instant::now();
            match self.rehash_page(pepper, position).await? {
                Page::Saved(after) => position = Some(after),
                Page::Moved => return Ok(()),
                Page::Last => {
                    let seconds = began.elapsed().as_secs_f64();
                    tracing::info!(seconds, "the new pepper is accepted; it is advertised when every process knows it");
                    return Ok(());
                }
            }
            // Requests have at least half of the time.
            tokio::time::sleep(page_began.elapsed()).await;
        }
    }

    async fn rehash_page(&self, pepper: &PhasedPepper, position: Option<AddressKey>) -> Result<Page, StoreError> {
        let (pepper, now) = (pepper.clone(), self.clock.now());
        let work = self.store.write(async move |conn| {
            let number = pepper.number;
            let is_preparing =
                peppers::list(conn).await?.in_phase(Phase::Preparing).is_some_and(|p| p.number == number);
            if !is_preparing || peppers::find_progress(conn, number).await? != position {
                return Ok(Page::Moved);
            }
            let page = rehash::list_addresses(conn, &position.clone().unwrap_or_default(), PAGE).await?;
            let last = page.last().map(|last| (last.medium().as_str().to_owned(), last.address().as_str().to_owned()));
            let is_last = i64::try_from(page.len()).is_ok_and(|length| length < PAGE);
            let rows: Vec<_> = page
                .into_iter()
                .map(|threepid| {
                    let digests = LookupDigests::of(&threepid, &pepper.pepper);
                    (threepid, digests)
                })
                .collect();
            rehash::save_digests(conn, pepper.slot, &rows).await?;
            match last {
                Some(last) if !is_last => {
                    peppers::save_progress(conn, number, &last).await?;
                    Ok(Page::Saved(last))
                }
                _ => {
                    peppers::save_phase(conn, number, Phase::Preparing, Phase::Accepted, now).await?;
                    Ok::<_, StoreError>(Page::Last)
                }
            }
        });
        work.await
    }
}

/// The result of a page of a rehash.
enum Page {
    /// The associations up to this one have their digests.
    Saved(AddressKey),
    /// All associations have them.
    Last,
    /// Another process has continued.
    Moved,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::Rotation;
    use crate::domain::association::Association;
    use crate::domain::lookup_hash::LookupDigests;
    use crate::domain::pepper::{PROPAGATION, Peppers, Phase, RotationSettings};
    use crate::store::associations::found;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{Store, associations, peppers};

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    async fn list(store: &Store) -> Peppers {
        store.read(async |conn| peppers::list(conn).await).await.unwrap()
    }

    fn phases(peppers: &Peppers) -> Vec<(i64, Phase)> {
        let mut phases: Vec<_> = peppers.iter().map(|pepper| (pepper.number, pepper.phase)).collect();
        phases.sort();
        phases
    }

    async fn bind(store: &Store, number: u32) {
        let association =
            Association::new(email(&format!("Straße{number}@x.org")), user("@alice:hs"), START, DAY * 1000);
        store.write(async move |conn| associations::save(conn, &association, START).await).await.unwrap();
    }

    /// Asserts that the lower-case form of every address is found under every pepper of the database.
    async fn assert_all_are_found(store: &Store, number: u32) {
        for pepper in list(store).await.iter() {
            let digests = (0..number)
                .map(|number| LookupDigests::of(&email(&format!("Straße{number}@x.org")), &pepper.pepper).h2.unwrap());
            let (slot, digests) = (pepper.slot, digests.collect::<Vec<_>>());
            let found = store.read(async move |conn| found::list_by_digest(conn, slot, &digests).await);
            assert_eq!(found.await.unwrap().len(), usize::try_from(number).unwrap(), "{:?}", pepper.phase);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rotation_goes_through_its_phases_and_no_association_is_lost() {
        use Phase::{Accepted, Current, Ending, Former, Preparing};
        for store in stores().await {
            let mut bound = 700;
            for number in 0..bound {
                bind(&store, number).await;
            }
            let (clock, settings) = (Clock::manual(START), RotationSettings { interval: DAY, grace: HOUR });
            let of_process = || Rotation::new(store.clone(), clock.clone(), Random, settings);
            // Two processes take the steps; the clock of the database's other users may differ.
            let mut processes = [of_process(), of_process()];
            let begin = Instant::now();
            let mut instant = begin;
            for process in &mut processes {
                process.advance_at(&list(&store).await, begin).await.unwrap();
            }
            let mut seen = Vec::new();
            for _ in 0..40 {
                let peppers = list(&store).await;
                if seen.last() != Some(&phases(&peppers)) {
                    seen.push(phases(&peppers));
                    if phases(&peppers) != [(1, Current), (2, Preparing)] {
                        assert_all_are_found(&store, bound).await;
                    }
                    bind(&store, bound).await;
                    bound += 1;
                }
                if peppers.current().number == 2 && peppers.iter().count() == 1 {
                    break;
                }
                instant += if peppers.former().is_some() { HOUR } else { PROPAGATION };
                if instant < begin + DAY && phases(&peppers) == [(1, Current)] {
                    instant = begin + DAY;
                }
                for process in &mut processes {
                    process.advance_at(&peppers, instant).await.unwrap();
                }
            }
            let expected: [&[(i64, Phase)]; 6] = [
                &[(1, Current)],
                &[(1, Current), (2, Preparing)],
                &[(1, Current), (2, Accepted)],
                &[(1, Former), (2, Current)],
                &[(1, Ending), (2, Current)],
                &[(2, Current)],
            ];
            assert_eq!(seen, expected);
            assert_all_are_found(&store, bound).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_continues_the_rehash_of_one_that_ended() {
        for store in stores().await {
            for number in 0..1200 {
                bind(&store, number).await;
            }
            let settings = RotationSettings { interval: Duration::ZERO, grace: HOUR };
            let rotation = || Rotation::new(store.clone(), Clock::manual(START), Random, settings);
            let first = rotation();
            assert!(first.prepare().await.unwrap());
            assert!(!first.prepare().await.unwrap());
            let pepper = list(&store).await.in_phase(Phase::Preparing).unwrap().clone();
            assert!(matches!(first.rehash_page(&pepper, None).await.unwrap(), super::Page::Saved(_)));
            assert!(matches!(first.rehash_page(&pepper, None).await.unwrap(), super::Page::Moved));
            let mut second = rotation();
            for _ in 0..2 {
                second.advance(&list(&store).await).await.unwrap();
            }
            assert!(list(&store).await.in_phase(Phase::Accepted).is_some());
            assert_all_are_found(&store, 1200).await;
            // A later rotation uses the other slot, in which the digests of the first pepper are.
            for (from, to) in [(Phase::Former, Phase::Ending)] {
                let now: Timestamp = START;
                store.write(async move |conn| peppers::switch(conn, 2, 1, now).await).await.unwrap();
                store.write(async move |conn| peppers::save_phase(conn, 1, from, to, now).await).await.unwrap();
                store.write(async |conn| peppers::delete(conn, 1).await).await.unwrap();
            }
            bind(&store, 1200).await;
            let mut third = rotation();
            assert!(third.prepare().await.unwrap());
            for _ in 0..2 {
                third.advance(&list(&store).await).await.unwrap();
            }
            assert!(list(&store).await.in_phase(Phase::Accepted).is_some());
            assert_all_are_found(&store, 1201).await;
        }
    }
}
