//! The layer rule: a module imports only from rows below its own, not from its neighbours in the row.
//!
//! Invariant: a module without a row is a violation, so the table stays complete.

use std::collections::BTreeMap;

use super::modules::{Modules, reaches};
use super::source::SourceFile;

/// A package and its rows, the top one first.
pub(crate) struct Layers {
    /// The folder of the package.
    pub(crate) package: &'static str,
    /// From the top to the bottom.
    pub(crate) rows: &'static [Row],
}

/// Modules on one level.
pub(crate) struct Row {
    /// Its modules.
    pub(crate) units: &'static [Unit],
    /// Allowed imports within the row.
    pub(crate) neighbours: Neighbours,
    /// Why the row has its place.
    pub(crate) reason: &'static str,
}

impl Row {
    /// A row in which no unit imports another one.
    pub(crate) const fn of(units: &'static [Unit], reason: &'static str) -> Self {
        Self { units, neighbours: Neighbours::Only(&[]), reason }
    }
}

/// One module as the rule counts it.
pub(crate) enum Unit {
    /// A file, or a folder as a whole.
    Module(&'static str),
    /// Each file or folder within a folder.
    EachIn(&'static str),
    /// One file or folder within a folder, in a row above that of the others.
    Within(&'static str, &'static str),
}

/// Allowed imports between units of one row.
pub(crate) enum Neighbours {
    /// Only these units of the same folder.
    Only(&'static [&'static str]),
    /// All, without a circle.
    WithoutCircle,
}

/// The row of a module, and the path of its unit.
struct Place {
    row: usize,
    unit: Vec<String>,
}

impl Layers {
    /// All imports in `files` from rows above, from neighbours or in a circle, and all modules without a row.
    pub(crate) fn violations(&self, files: &[SourceFile]) -> Vec<String> {
        let crate_name = self.package.replace('-', "_");
        let modules = Modules::below(&format!("{}/src/", self.package), &crate_name, files);
        let mut violations = Vec::new();
        let mut sideways = BTreeMap::<String, BTreeMap<String, ()>>::new();
        for (module, file) in modules.iter() {
            let Some(from) = self.place(module) else {
                violations.push(format!("{} is in no row", file.path));
                continue;
            };
            for named in file.named_paths() {
                let Some(target) = modules.resolve(module, &named) else { continue };
                let Some(to) = self.place(&target) else { continue };
                // A folder and its content are one family.
                let family = target.starts_with(module) || module.starts_with(&target) || from.unit == to.unit;
                let row = &self.rows[from.row];
                let problem = match (&row.neighbours, to.row) {
                    (_, below) if below > from.row => None,
                    _ if family => None,
                    (Neighbours::WithoutCircle, same) if same == from.row => {
                        sideways.entry(from.unit.join("::")).or_default().insert(to.unit.join("::"), ());
                        None
                    }
                    (Neighbours::Only(names), same) if same == from.row => {
                        let shared_ground = from.unit.first() == to.unit.first()
                            && (to.unit.len() == 1 || names.iter().any(|&name| name == to.unit[1]));
                        (!shared_ground).then_some("its neighbour")
                    }
                    _ => Some("from above"),
                };
                if let Some(which) = problem {
                    let line = format!("{}:{}", file.path, named.line);
                    violations.push(format!("{line} imports {} {which}; its row: {}", target.join("::"), row.reason));
                }
            }
        }
        let circular = sideways.keys().filter(|unit| reaches(&sideways, unit, unit));
        violations.extend(circular.map(|unit| format!("{unit} imports itself in a circle")));
        violations
    }

    fn place(&self, module: &[String]) -> Option<Place> {
        let first = module.first()?;
        for (row, Row { units, .. }) in self.rows.iter().enumerate() {
            for unit in *units {
                match unit {
                    Unit::Module(name) if name == first => return Some(Place { row, unit: module[..1].to_vec() }),
                    Unit::EachIn(name) if name == first => {
                        return Some(Place { row, unit: module[..module.len().min(2)].to_vec() });
                    }
                    Unit::Within(folder, name) if folder == first && module.get(1).is_some_and(|own| own == name) => {
                        return Some(Place { row, unit: module[..2].to_vec() });
                    }
                    Unit::Module(_) | Unit::EachIn(_) | Unit::Within(..) => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{IDENTITY, PUSH_GATEWAY};
    use super::Layers;
    use crate::source::SourceFile;

    /// A tree with every kind of row, in which `path` holds `text`.
    fn violations(layers: &Layers, path: &str, text: &str) -> Vec<String> {
        let mut files: Vec<SourceFile> = [
            "main",
            "lib",
            "server",
            "routes/mod",
            "routes/auth",
            "routes/legacy_v1",
            "routes/lookup",
            "routes/validate",
            "flows/bind",
            "flows/unbind",
            "state",
            "error",
            "store/mod",
            "store/schema",
            "store/tokens",
            "store/sessions",
            "notify/mod",
            "notify/mime",
            "homeserver/mod",
            "limits",
            "signing_keys/mod",
            "signing_keys/sealing",
            "config/mod",
            "domain/mod",
            "domain/sid",
            "domain/threepid",
            "providers/mod",
            "providers/apns",
            "providers/fcm",
            "delivery/mod",
            "notification",
        ]
        .iter()
        .map(|path| SourceFile { path: format!("{}/src/{path}.rs", layers.package), text: String::new() })
        .filter(|file| layers.place(&file.module(layers.package).unwrap()).is_some())
        .collect();
        files.retain(|file| file.path != path);
        files.push(SourceFile { path: path.to_owned(), text: text.to_owned() });
        layers.violations(&files)
    }

    #[test]
    fn imports_from_below_and_within_the_family_pass() {
        for (path, text) in [
            ("identity/src/main.rs", "use identity::server;"),
            ("identity/src/lib.rs", "pub mod domain;"),
            ("identity/src/routes/lookup.rs", "use super::auth::Caller; use crate::{flows::bind, state::State};"),
            ("identity/src/routes/mod.rs", "pub mod legacy_v1; fn f() { legacy_v1::configure() }"),
            ("identity/src/routes/legacy_v1.rs", "use super::{auth, validate}; use crate::flows::bind;"),
            ("identity/src/flows/bind.rs", "use crate::store::sessions; use crate::error::Error;"),
            ("identity/src/state.rs", "use crate::store::Store; use crate::config::Config;"),
            (
                "identity/src/store/sessions.rs",
                "use super::{StoreError, schema::sessions}; fn f() { crate::domain::sid::new() }",
            ),
            ("identity/src/store/mod.rs", "mod sessions; use sessions::x; use self::tokens::y;"),
            ("identity/src/notify/mod.rs", "use crate::notify::mime::X;"),
            ("identity/src/notify/mime.rs", "use super::Mail;"),
            ("identity/src/signing_keys/mod.rs", "use sealing::A; fn f() { self::sealing::a() }"),
            ("identity/src/domain/sid.rs", "use super::threepid::X;\n#[cfg(test)]\nmod tests { use crate::store::X; }"),
        ] {
            assert_eq!(violations(&IDENTITY, path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn imports_from_above_or_beside_are_found_in_every_spelling() {
        for (path, text) in [
            ("identity/src/server.rs", "use crate::Thing;"),
            ("identity/src/routes/lookup.rs", "use super::validate::X;"),
            ("identity/src/routes/auth.rs", "use crate::routes::lookup;"),
            ("identity/src/routes/validate.rs", "use super::legacy_v1::X;"),
            ("identity/src/routes/legacy_v1.rs", "use crate::server::X;"),
            ("identity/src/flows/bind.rs", "use super::unbind;"),
            ("identity/src/flows/bind.rs", "use super::super::routes::lookup::X;"),
            ("identity/src/flows/bind.rs", "fn f() -> crate::server::X {}"),
            ("identity/src/state.rs", "use crate::error::Error;"),
            ("identity/src/error.rs", "use crate::{domain::sid, flows::{bind}};"),
            ("identity/src/store/sessions.rs", "use super::tokens;"),
            ("identity/src/store/schema.rs", "use super::tokens;"),
            ("identity/src/store/sessions.rs", "use crate::state::State;"),
            ("identity/src/notify/mime.rs", "use crate::store::Store;"),
            ("identity/src/notify/mime.rs", "use crate::store::schema::x;"),
            ("identity/src/homeserver/mod.rs", "mod inner { use super::super::notify::Mail; }"),
            ("identity/src/config/mod.rs", "use crate::limits::Limit;"),
            ("identity/src/domain/sid.rs", "fn f() { crate::config::x() }"),
            ("identity/src/helpers.rs", ""),
        ] {
            let found = violations(&IDENTITY, path, text);
            assert!(found.iter().any(|line| line.starts_with(path)), "{path}: {text}: {found:?}");
        }
    }

    #[test]
    fn a_circle_in_the_domain_is_found() {
        let chain = [("sid", "use super::threepid;"), ("threepid", "use super::token;"), ("token", "")];
        let circle = [chain[0], chain[1], ("token", "fn f() { crate::domain::sid::draw() }")];
        let found = |files: [(&str, &str); 3]| {
            let file = |(name, text): (&str, &str)| SourceFile {
                path: format!("identity/src/domain/{name}.rs"),
                text: text.to_owned(),
            };
            IDENTITY.violations(&files.map(file))
        };
        assert_eq!(found(chain), Vec::<String>::new());
        assert_eq!(found(circle).len(), 3);
    }

    #[test]
    fn the_push_gateway_has_its_own_rows() {
        let path = "push-gateway/src/providers/apns/mod.rs";
        for wrong in ["use crate::providers::fcm::X;", "use crate::config::X;", "use push_gateway::delivery::X;"] {
            assert_eq!(violations(&PUSH_GATEWAY, path, wrong).len(), 1, "{wrong}");
        }
        assert_eq!(
            violations(&PUSH_GATEWAY, path, "use crate::{providers::P, notification::N};"),
            Vec::<String>::new()
        );
    }
}
