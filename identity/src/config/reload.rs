//! What a reload takes over from another configuration, and what stays until the process ends.
//!
//! Invariant: a key that needs a restart keeps its old value everywhere, so that no part of a change applies.

use std::fs;
use std::path::{Path, PathBuf};

use shared::config::ConfigErrors;
use shared::reload::check_not_empty;

use super::{Config, RawConfig, legacy_v1::LegacyV1, rules::Lookup};

/// Keys of files whose change has no effect on a running server, or that the server writes itself.
const NOT_WATCHED: [&str; 4] = ["http.tls_cert_file", "http.tls_key_file", "sms.log.file", "keys.file"];

/// How deep the folder of templates is searched: brand, language, file.
const TEMPLATE_DEPTH: usize = 3;

impl Config {
    /// As [`Config::load`], for a reload: `watch` receives the files that the configuration names before they are read,
    /// because the operator may repair one of them.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_again(&self, watch: impl FnOnce(Vec<PathBuf>)) -> Result<Self, ConfigErrors> {
        let file = self.source.file.as_deref();
        check_not_empty(file)?;
        let source = RawConfig::source(file)?;
        watch(self.watched(&source.named_files(), source.path("templates.dir").as_deref()));
        source.complete(|source| Self::of(file, source).map_err(|error| vec![error]))
    }

    /// The files whose change is a reason to reload.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        self.watched(&self.source.named_files, self.templates.dir.as_deref())
    }

    fn watched(&self, named: &[(String, PathBuf)], templates: Option<&Path>) -> Vec<PathBuf> {
        let named = named.iter().filter(|(key, _)| !NOT_WATCHED.contains(&key.as_str())).map(|(_, file)| file.clone());
        let mut files: Vec<PathBuf> =
            self.source.file.iter().cloned().chain(named).chain([self.keys.file.clone()]).collect();
        if let Some(dir) = templates {
            add_files(dir, TEMPLATE_DEPTH, &mut files);
        }
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Gives the keys that need a restart the values of `initial`, the configuration at start. Returns those that differ.
    pub fn keep_fixed(&mut self, initial: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut keep = |key: &'static str, is_equal: bool| {
            if !is_equal {
                changed.push(key);
            }
        };
        keep("[server] data_dir", self.server.data_dir == initial.server.data_dir);
        keep("[http]", self.http == initial.http);
        keep("[admin]", self.admin == initial.admin);
        keep("[log]", self.log == initial.log);
        keep("[database]", self.database == initial.database);
        keep(
            "[lookup] index, index_memory, poll_interval",
            fixed_lookup(&self.lookup) == fixed_lookup(&initial.lookup),
        );
        keep("[lookup] daily_quota, daily_quota_per_homeserver", quotas(&self.lookup) == quotas(&initial.lookup));
        keep("[limits] large_homeservers", self.limits.large_homeservers == initial.limits.large_homeservers);
        keep("[legacy_v1] profile", self.legacy_v1.profile == initial.legacy_v1.profile);

        self.server.data_dir.clone_from(&initial.server.data_dir);
        self.http = initial.http.clone();
        self.admin = initial.admin.clone();
        self.log = initial.log;
        self.database = initial.database.clone();
        let old = &initial.lookup;
        self.lookup = Lookup {
            index: old.index,
            index_memory: old.index_memory,
            poll_interval: old.poll_interval,
            daily_quota: old.daily_quota,
            daily_quota_per_homeserver: old.daily_quota_per_homeserver,
            ..self.lookup.clone()
        };
        self.limits.large_homeservers = initial.limits.large_homeservers.clone();
        self.legacy_v1 = LegacyV1 { profile: initial.legacy_v1.profile, ..self.legacy_v1.clone() };
        changed
    }
}

fn fixed_lookup(lookup: &Lookup) -> (Option<usize>, shared::config::HumanDuration) {
    (lookup.index_limit(), lookup.poll_interval)
}

fn quotas(lookup: &Lookup) -> (usize, usize) {
    (lookup.daily_quota, lookup.daily_quota_per_homeserver)
}

/// Adds the folder and the files in it, so that a new file is noticed too.
fn add_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    files.push(folder.to_path_buf());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 1 {
            add_files(&path, depth - 1, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}
