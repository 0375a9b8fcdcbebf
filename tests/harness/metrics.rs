//! The metrics of a service, of all its replicas together.
//!
//! Invariant: a gauge describes the shared database, so each replica shows the same value; a counter counts the requests
//! of one replica.

use std::collections::BTreeMap;

use crate::api::Api;
use crate::process::Server;

/// The series of `/metrics`, one a line; counters are summed up over the replicas.
pub async fn of(server: &Server) -> String {
    let mut series: BTreeMap<String, f64> = BTreeMap::new();
    for url in server.admin_urls() {
        let text = Api::new(&url).get("/metrics").send().await.text();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            let is_counter = name.split('{').next().is_some_and(|name| name.ends_with("_total"));
            let sum = series.entry(name.to_owned()).or_default();
            *sum = if is_counter { *sum + value } else { value };
        }
    }
    series.into_iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}
