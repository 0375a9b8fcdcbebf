//! `identity rotate-pepper`: replaces the pepper of the lookup hashes now.
//!
//! Invariant: servers may run or not; either way clients notice nothing.

use std::error::Error;
use std::time::{Duration, Instant};

use shared::clock::Clock;
use shared::random::Random;

use super::database;
use super::table::roughly;
use crate::config::Config;
use crate::domain::lookup_hash::Pepper;
use crate::domain::pepper::{PROPAGATION, Peppers, Phase, RotationSettings};
use crate::flows::rotate_pepper::Rotation;
use crate::store::{Store, StoreError, peppers};

/// Between two looks at the database.
const INTERVAL: Duration = Duration::from_millis(500);

/// Rotates the pepper, and returns when the new one is advertised. Reports each phase to `print`.
///
/// # Errors
/// If the pepper before the current one is in use, the database fails, or is not available for `[database] start_timeout`.
pub async fn rotate(
    config: &Config,
    print: impl Fn(String) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let store = database::open(config).await?;
    let mut command = Command::new(store, Clock::system(), config.lookup.rotation());
    let (mut printed, mut succeeded) = ("", Instant::now());
    loop {
        let state = match command.step().await {
            Ok(state) => state,
            Err(error) if error.is_outage() && succeeded.elapsed() < config.database.start_timeout => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            Err(error) if error.is_outage() => {
                let advice = "a server continues the rotation when it reaches the database, and so does this command";
                return Err(format!("{error}; {advice}").into());
            }
            Err(error) => return Err(error.into()),
        };
        succeeded = Instant::now();
        let line = match state {
            State::InUse(wait) => {
                let wait = roughly(wait);
                return Err(format!("the pepper before the current one is still in use; try again in {wait}").into());
            }
            State::Removing => "the pepper before the current one is being removed, which takes up to a minute",
            State::Preparing => "every association gets its hashes under the new pepper",
            State::Accepted => "lookups may use the new pepper; it is advertised when every server knows it",
            State::Advertised => "the new pepper is advertised",
        };
        if line != printed {
            printed = line;
            print(line.to_owned())?;
        }
        if matches!(state, State::Advertised) {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Where the rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Lookups may use the former pepper for this time, and there is room for two.
    InUse(Duration),
    /// The former pepper ends, or will so soon that the command waits.
    Removing,
    Preparing,
    Accepted,
    Advertised,
}

struct Command {
    store: Store,
    clock: Clock,
    grace: Duration,
    rotation: Rotation,
    /// The number of the new pepper, from the first look at the database on.
    wanted: Option<i64>,
}

impl Command {
    fn new(store: Store, clock: Clock, settings: RotationSettings) -> Self {
        let rotation = Rotation::new(store.clone(), clock.clone(), Random, settings);
        Self { store, clock, grace: settings.grace, rotation, wanted: None }
    }

    /// Takes the step that is due. Servers may take steps too.
    async fn step(&mut self) -> Result<State, StoreError> {
        let peppers = self.peppers().await?;
        let wanted = *self.wanted.get_or_insert(peppers.current().number + 1);
        let state = self.state(&peppers, wanted);
        match state {
            State::Advertised | State::InUse(_) => {}
            State::Preparing if peppers.next().is_some() => drop(self.rotation.prepare().await?),
            State::Preparing | State::Accepted | State::Removing => self.rotation.advance(&peppers).await?,
        }
        Ok(state)
    }

    async fn peppers(&self) -> Result<Peppers, StoreError> {
        if self.wanted.is_some() {
            return self.store.read(async |conn| peppers::list(conn).await).await;
        }
        let (fresh, now) = (Pepper::draw(Random), self.clock.now());
        self.store.write(async move |conn| peppers::list_or_insert(conn, &fresh, now).await).await
    }

    fn state(&self, peppers: &Peppers, wanted: i64) -> State {
        if peppers.current().number >= wanted {
            return State::Advertised;
        }
        if let Some(former) = peppers.former() {
            let wait = former.since.plus(self.grace).since(self.clock.now());
            return if wait <= PROPAGATION { State::Removing } else { State::InUse(wait) };
        }
        if peppers.in_phase(Phase::Ending).is_some() {
            State::Removing
        } else if peppers.in_phase(Phase::Accepted).is_some() {
            State::Accepted
        } else {
            State::Preparing
        }
    }
}
