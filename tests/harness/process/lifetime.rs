//! The ends of a service and its restarts.
//!
//! Invariant: a service that was restarted has the folder, the environment and the log of the one before.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::Server;
use super::launch::{Listening, launch};
use crate::wait::wait_for;

impl Server {
    /// Sends a signal by its short name: `TERM`, `HUP`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// If there is no such signal or no such process any more.
    pub fn signal(&self, name: &str) {
        for replica in &self.replicas {
            let pid = replica.child.process.id();
            let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
            assert!(status.as_ref().is_ok_and(ExitStatus::success), "kill -{name} {pid}: {status:?}");
        }
    }

    /// Ends it as a power cut would (SIGKILL), and waits for the end.
    pub fn kill(&mut self) {
        for replica in &mut self.replicas {
            replica.child.kill();
        }
    }

    /// As [`Server::kill`], one replica alone.
    pub fn kill_replica(&mut self, number: usize) {
        self.replicas[number].child.kill();
    }

    /// Asks it to end (SIGTERM) and waits for how it does.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit(deadline).await
    }

    /// Waits until it has ended by itself; returns the first failure, if there is one.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub async fn wait_for_exit(&mut self, deadline: Duration) -> ExitStatus {
        let mut statuses = Vec::new();
        for Listening { child, .. } in &mut self.replicas {
            statuses.push(wait_for("the end of the process", deadline, async || child.ended()).await);
            child.join_readers();
        }
        statuses.iter().copied().find(|status| !status.success()).unwrap_or(statuses[0])
    }

    /// Kills it if it still runs, and starts it again in the same folder with the same configuration. The port is
    /// another one, unless the configuration names one or there is a proxy.
    ///
    /// # Panics
    /// If it does not start again.
    pub async fn restart(&mut self) {
        self.kill();
        for number in 0..self.replicas.len() {
            self.restart_replica(number).await;
        }
    }

    /// As [`Server::restart`], with another configuration.
    ///
    /// # Panics
    /// If it does not start again.
    pub async fn restart_with(&mut self, config: &str) {
        std::fs::write(self.config_file(), config).expect("the configuration can be written");
        self.restart().await;
    }

    /// As [`Server::restart`], one replica alone.
    ///
    /// # Panics
    /// If it does not start again.
    pub async fn restart_replica(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.child.kill();
        let before = replica.child.output.text();
        match launch(&self.binary, self.folder.path(), &self.environment, self.log.as_deref()).await {
            Ok(new) => {
                new.child.output.prepend(&before);
                *replica = new;
            }
            Err(failure) => panic!("no restart ({:?}):\n{before}{}", failure.status, failure.output),
        }
        self.balance();
    }
}
