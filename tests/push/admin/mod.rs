//! What the operator of a push gateway sees and does: metrics, logs, the configuration read again, a check of it.
//!
//! Invariant: everything is seen from outside: on the admin listener, in the log, at the push services.

mod legacy_names;
mod metrics;

use harness::api::Api;
use harness::world::push::World;
use serde_json::Value;

/// The lines of `/metrics`, without comments.
pub(crate) async fn measured(world: &World) -> Vec<String> {
    let answer = Api::new(&world.server.admin_url()).get("/metrics").send().await;
    assert_eq!(answer.code(), 200, "{answer}");
    answer.text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The value of a line that begins with `series`, a name with all its labels in their order; `None` if there is none.
pub(crate) fn value(lines: &[String], series: &str) -> Option<f64> {
    let rest = lines.iter().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(rest.parse().unwrap_or_else(|error| panic!("{series}: {rest:?}: {error}")))
}

/// What `/ready` says.
pub(crate) async fn ready(world: &World) -> Value {
    Api::new(&world.server.admin_url()).get("/ready").send().await.expect(200)
}
