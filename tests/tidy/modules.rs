//! The modules of a crate: where a path in the code leads, and which modules import each other in a circle.
//!
//! Invariant: an import through a re-export of the parent module counts as an import of the module that has the item.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{NamedPath, SourceFile};

/// Module paths in a row, each with the modules that it imports.
type Graph<T> = BTreeMap<String, BTreeMap<String, T>>;

/// The modules of one crate.
pub(crate) struct Modules<'a> {
    crate_name: &'a str,
    files: BTreeMap<Vec<String>, &'a SourceFile>,
}

impl<'a> Modules<'a> {
    /// The modules of the crate `crate_name` among `files`; its root lies in `folder`, which ends with `/`.
    pub(crate) fn below(folder: &str, crate_name: &'a str, files: &'a [SourceFile]) -> Self {
        let files = files.iter().filter_map(|file| Some((file.module_below(folder)?, file))).collect();
        Self { crate_name, files }
    }

    /// Each module with its file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<String>, &SourceFile)> {
        self.files.iter().map(|(module, file)| (module, *file))
    }

    /// The module of this crate that `named` leads to, `None` if it leads elsewhere.
    pub(crate) fn resolve(&self, module: &[String], named: &NamedPath) -> Option<Vec<String>> {
        self.resolve_item(module, named).map(|(target, _)| target)
    }

    /// The module, and the item of it that the path names next.
    fn resolve_item(&self, module: &[String], named: &NamedPath) -> Option<(Vec<String>, Option<String>)> {
        let root = |name: &String| name == "lib" || name == "main";
        let mut here: Vec<String> = module.iter().filter(|name| !root(name)).chain(&named.inside).cloned().collect();
        let mut parts = named.parts.as_slice();
        match parts.first()?.as_str() {
            "crate" => {
                here.clear();
                parts = &parts[1..];
            }
            name if name == self.crate_name => {
                here.clear();
                parts = &parts[1..];
            }
            "self" => parts = &parts[1..],
            "super" => {
                while parts.first().is_some_and(|part| part == "super") {
                    here.pop();
                    parts = &parts[1..];
                }
            }
            // A child module may be named without `self`.
            child if self.files.contains_key(&[here.as_slice(), &[child.to_owned()]].concat()) => {}
            _ => return None,
        }
        here.extend_from_slice(parts);
        // The rest of the path names items of the module.
        let mut item = None;
        while !here.is_empty() && !self.files.contains_key(&here) {
            item = here.pop();
        }
        let target = if here.is_empty() { vec!["lib".to_owned()] } else { here };
        Some((target, item))
    }

    /// Imports between modules of one folder that lead back to where they begin, in every folder of the crate; in the root
    /// of the crate with `in_root`.
    pub(crate) fn circles(&self, in_root: bool) -> Vec<String> {
        let paths: Vec<_> = self
            .iter()
            .flat_map(|(module, file)| file.named_paths().into_iter().map(move |p| (module, file, p)))
            .collect();
        // What a module takes from its children, by name: a sibling that imports it from the parent means the child.
        let mut taken = BTreeMap::new();
        for (module, _, named) in &paths {
            if let Some((target, Some(item))) = self.resolve_item(module, named)
                && target.len() > module.len()
                && target.starts_with(module)
            {
                taken.insert(((*module).clone(), item), target);
            }
        }
        let mut folders = BTreeMap::<&[String], Graph<String>>::new();
        for (module, file, named) in &paths {
            let Some((mut target, item)) = self.resolve_item(module, named) else { continue };
            if let Some(child) = item.and_then(|item| taken.get(&(target.clone(), item))) {
                target.clone_from(child);
            }
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (module.get(common), target.get(common)) else { continue };
            let (at, folder) = (format!("{}:{}", file.path, named.line), &module[..common]);
            let imports = folders.entry(folder).or_default().entry(from.clone()).or_default();
            imports.entry(to.clone()).or_insert(at);
        }
        let mut circles = Vec::new();
        for graph in folders.iter().filter(|(folder, _)| in_root || !folder.is_empty()).map(|(_, graph)| graph) {
            for (from, imports) in graph {
                let leads_back = imports.iter().filter(|(to, _)| reaches(graph, to, from));
                circles.extend(leads_back.map(|(to, at)| format!("{at} imports {to}, which leads back to {from}")));
            }
        }
        circles
    }
}

/// Whether a chain of imports leads from one module to the other; of a module to itself if it is in a circle.
pub(crate) fn reaches<T>(graph: &Graph<T>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::Modules;
    use crate::source::SourceFile;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: format!("push-gateway/src/{path}.rs"),
            text: (*text).to_owned(),
        };
        let files: Vec<_> = files.iter().map(file).collect();
        Modules::below("push-gateway/src/", "push_gateway", &files).circles(true)
    }

    #[test]
    fn siblings_that_import_each_other_are_a_circle_however_the_import_is_written() {
        for (line, pool) in [
            ("use super::pool::Pool;", "use super::line::Line;"),
            ("use crate::apns::pool::Pool;", "fn f() { crate::apns::line::f() }"),
            ("use super::{Pool, X};", "use super::line::Line;"),
            ("fn f(pool: &super::Pool) {}", "use super::Line;"),
        ] {
            let parent = "mod line; mod pool; pub(super) use line::Line; use self::pool::{Pool, Other}; struct X;";
            let found = circles(&[("apns/mod", parent), ("apns/line", line), ("apns/pool", pool)]);
            assert_eq!(
                found,
                [
                    "push-gateway/src/apns/line.rs:1 imports pool, which leads back to line",
                    "push-gateway/src/apns/pool.rs:1 imports line, which leads back to pool",
                ],
                "{line} {pool}"
            );
        }
    }

    #[test]
    fn a_circle_through_folders_is_found() {
        let files = [("a/mod", ""), ("a/x", "use crate::b::y::Y;"), ("b/mod", ""), ("b/y", "use crate::c::C;")];
        let found = circles(&[&files[..], &[("c", "use crate::a::x::X;")]].concat());
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(circles(&[&files[..], &[("c", "")]].concat()), Vec::<String>::new());
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        let files = [
            ("apns/mod", "mod line; use line::Line; pub struct Apns;"),
            (
                "apns/line",
                "use super::Apns; use super::pool::P; #[cfg(test)]\nmod tests { use super::super::pool::X; }",
            ),
            ("apns/pool", "use super::Apns;\n#[cfg(test)]\nmod tests {\n use super::super::line::Line; }"),
        ];
        assert_eq!(circles(&files), Vec::<String>::new());
    }
}
