//! `identity rotate-pepper`: replaces the pepper of the lookup hashes now.
//!
//! Invariant: servers may run or not; either way clients notice nothing.

use std::error::Error;
use std::time::Duration;

use shared::clock::Clock;
use shared::random::Random;

use super::database;
use super::table::roughly;
use crate::config::Config;
use crate::domain::lookup_hash::Pepper;
use crate::domain::pepper::{PROPAGATION, Peppers, Phase};
use crate::flows::rotate_pepper::Rotation;
use crate::store::peppers;

/// Between two looks at the database.
const INTERVAL: Duration = Duration::from_millis(500);

/// Rotates the pepper, and returns when the new one is advertised. Reports each phase to `print`.
///
/// # Errors
/// If the previous rotation is not over, or the database fails.
pub async fn rotate(
    config: &Config,
    print: impl Fn(String) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let store = database::open(config).await?;
    let (clock, settings) = (Clock::system(), config.lookup.rotation());
    let (fresh, now) = (Pepper::draw(Random), clock.now());
    let before = store.write(async move |conn| peppers::list_or_insert(conn, &fresh, now).await).await?;
    let mut rotation = Rotation::new(store.clone(), clock, Random, settings);
    // One that was interrupted continues.
    let is_under_way =
        |peppers: &Peppers| peppers.in_phase(Phase::Preparing).or(peppers.in_phase(Phase::Accepted)).is_some();
    if !is_under_way(&before)
        && !rotation.prepare().await?
        // A server may have begun one meanwhile.
        && !is_under_way(&store.read(async |conn| peppers::list(conn).await).await?)
    {
        let end = before.former().map_or(now, |former| former.since.plus(settings.grace)).plus(PROPAGATION * 2);
        let wait = roughly(end.since(now));
        return Err(format!("the pepper before the current one is still in use; try again in {wait}").into());
    }
    let number = before.current().number + 1;
    print("every association gets its hashes under the new pepper".to_owned())?;
    let mut phase = Phase::Preparing;
    loop {
        let peppers = store.read(async |conn| peppers::list(conn).await).await?;
        let found = peppers.iter().find(|pepper| pepper.number == number);
        match found.map(|pepper| pepper.phase) {
            Some(Phase::Preparing) => {}
            Some(Phase::Accepted) if phase == Phase::Preparing => {
                phase = Phase::Accepted;
                print("lookups may use the new pepper; it is advertised when every server knows it".to_owned())?;
            }
            Some(Phase::Accepted) => {}
            _ => {
                return print("the new pepper is advertised".to_owned());
            }
        }
        rotation.advance(&peppers).await?;
        tokio::time::sleep(INTERVAL).await;
    }
}
