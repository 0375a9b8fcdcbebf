//! How the run deploys an identity world that does not choose: its database, its index, and its replicas.
//!
//! Invariant: a world that names its database has one process.

use crate::database;
use crate::options::{self, Engine};
use crate::process::balancer::Balancer;
use crate::skipped;

/// The processes of a world with `GATEHOUSE_DATABASE=replicas`.
pub(super) const REPLICAS: usize = 3;

/// The settings that the run adds, and the proxy if there are replicas.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) server: String,
    pub(super) tables: String,
    pub(super) balancer: Option<Balancer>,
}

impl Deployment {
    /// The deployment of a world with these lines of `[server]`, these tables, and one process if there is a reason.
    ///
    /// # Panics
    /// If the database that `GATEHOUSE_DATABASE` names is not on this machine.
    pub(super) async fn of(server: &str, tables: &str, one_process: Option<&str>) -> Self {
        let (mut server, mut tables) = (server.to_owned(), tables.to_owned());
        if names(&tables, "[database]", "url") {
            return Self { server, tables, balancer: None };
        }
        // By default the answer to a lookup does not depend on its replica.
        let of_replicas = (options::engine() == Engine::Replicas).then(|| "database".to_owned());
        let index = options::index().or(of_replicas);
        if let Some(index) = index.filter(|_| !names(&tables, "[lookup]", "index")) {
            tables = with_lines(&tables, "[lookup]", &format!("index = \"{index}\"\npoll_interval = \"50ms\"\n"));
        }
        if options::engine() == Engine::Sqlite {
            return Self { server, tables, balancer: None };
        }
        let url = database::postgresql().await.expect("the database that GATEHOUSE_DATABASE names");
        tables = with_lines(&tables, "[database]", &format!("url = \"{url}\"\n"));
        let balancer = match (options::engine(), one_process) {
            (Engine::Replicas, None) => Some(Balancer::start().await),
            (Engine::Replicas, Some(reason)) => {
                skipped::check(&format!("with replicas, because it is about {reason}"));
                None
            }
            _ => None,
        };
        if let Some(balancer) = balancer.as_ref().filter(|_| !server.contains("public_base_url")) {
            // By default each replica would take its own address.
            server += &format!("\npublic_base_url = \"http://{}\"\n", balancer.address());
            if !server.contains("allow_http_base_url") {
                server += "allow_http_base_url = true\n";
            }
        }
        Self { server, tables, balancer }
    }
}

/// Whether `section` in `tables` has this key.
fn names(tables: &str, section: &str, key: &str) -> bool {
    tables.split_once(section).is_some_and(|(_, rest)| {
        let section = rest.split("\n[").next().unwrap_or_default();
        section.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key))
    })
}

/// `tables` with further lines of `section`.
fn with_lines(tables: &str, section: &str, lines: &str) -> String {
    let header = format!("{section}\n");
    match tables.contains(&header) {
        true => tables.replacen(&header, &format!("{header}{lines}"), 1),
        false => format!("{tables}\n{header}{lines}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{names, with_lines};

    #[test]
    fn a_line_is_added_to_its_section_or_with_a_new_one() {
        let tables = "[a]\nx = 1\n[b]\nurl = 2";
        assert!(names(tables, "[b]", "url") && !names(tables, "[a]", "url") && !names(tables, "[b]", "ur"));
        assert_eq!(with_lines(tables, "[a]", "y = 3\n"), "[a]\ny = 3\nx = 1\n[b]\nurl = 2");
        assert_eq!(with_lines(tables, "[c]", "y = 3\n"), "[a]\nx = 1\n[b]\nurl = 2\n[c]\ny = 3\n");
    }
}
