//! The source tree for the rules: files with their module paths, and the paths in their code.
//!
//! Invariant: comments, string literals and characters are never read as code.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One text file.
pub(crate) struct SourceFile {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

/// A path such as `crate::store::sessions` in the code.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedPath {
    /// Its parts. The first one may be `crate`, `self` or `super`.
    pub(crate) parts: Vec<String>,
    /// The modules within the file around it.
    pub(crate) inside: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl SourceFile {
    /// Whether all of it is test code: a module of unit tests, or a black-box test.
    pub(crate) fn is_test(&self) -> bool {
        if let Some(path) = self.path.strip_prefix("tests/") {
            return !["harness/", "demo", "load", "tidy"].iter().any(|part| path.starts_with(part));
        }
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The text before the unit tests at its end; empty for test code.
    pub(crate) fn production(&self) -> &str {
        if self.is_test() {
            return "";
        }
        let mut start = 0;
        while let Some(found) = self.text[start..].find("#[cfg(test)]\n") {
            let at = start + found;
            let after = &self.text[at + "#[cfg(test)]\n".len()..];
            if (at == 0 || self.text[..at].ends_with('\n')) && (after.starts_with("mod ") || after.starts_with("#[")) {
                return &self.text[..at];
            }
            start = at + 1;
        }
        &self.text
    }

    /// Its module within `package`: `["store", "sessions"]`; `["lib"]` and `["main"]` for the roots.
    pub(crate) fn module(&self, package: &str) -> Option<Vec<String>> {
        self.module_below(&format!("{package}/src/"))
    }

    /// Its module in the crate whose root lies in `folder`, which ends with `/`.
    pub(crate) fn module_below(&self, folder: &str) -> Option<Vec<String>> {
        let path = self.path.strip_prefix(folder)?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        Some(path.split('/').map(str::to_owned).collect())
    }

    /// All paths of at least two parts in the production code, with `use` trees expanded.
    pub(crate) fn named_paths(&self) -> Vec<NamedPath> {
        let tokens = tokens(&without_texts(self.production()));
        let mut paths = Vec::new();
        let mut inside: Vec<(String, usize)> = Vec::new();
        let (mut depth, mut at) = (0, 0);
        while let Some((token, line)) = tokens.get(at) {
            let next = |offset: usize| tokens.get(at + offset).map_or("", |(text, _)| text.as_str());
            let around = || inside.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            match token.as_str() {
                "{" => depth += 1,
                "}" => {
                    inside.pop_if(|(_, opened)| *opened == depth);
                    depth = depth.saturating_sub(1);
                }
                "mod" if next(2) == "{" => {
                    inside.push((next(1).to_owned(), depth + 1));
                    at += 1;
                }
                "use" => {
                    let mut found = Vec::new();
                    at = read_tree(&tokens, at + 1, &[], &mut found);
                    paths.extend(found.into_iter().map(|parts| NamedPath { parts, inside: around(), line: *line }));
                    continue;
                }
                _ if is_word(token) && next(1) == "::" => {
                    let mut parts = vec![token.clone()];
                    while next(1 + 2 * (parts.len() - 1)) == "::" && is_word(next(2 * parts.len())) {
                        parts.push(next(2 * parts.len()).to_owned());
                    }
                    let named = NamedPath { inside: around(), line: *line, parts };
                    at += 2 * named.parts.len() - 1;
                    if named.parts.len() > 1 {
                        paths.push(named);
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }
}

/// Reads one `use` tree from `at` on; returns the position of its end.
fn read_tree(tokens: &[(String, usize)], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut renamed = false;
    let mut branched = false;
    while let Some((token, _)) = tokens.get(at) {
        match token.as_str() {
            "," | "}" | ";" => break,
            "{" => {
                branched = true;
                at += 1;
                while tokens.get(at).is_some_and(|(token, _)| token != "}") {
                    at = read_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|(token, _)| token == ","));
                }
            }
            "as" => renamed = true,
            word if is_word(word) && !renamed => path.push(word.to_owned()),
            _ => {}
        }
        at += 1;
    }
    if !branched {
        found.push(path);
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs, each with its line.
fn tokens(code: &str) -> Vec<(String, usize)> {
    let mut tokens: Vec<(String, usize)> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if word > 0 { word } else { if rest.starts_with("::") { 2 } else { first.len_utf8() } };
            tokens.push((rest[..length].to_owned(), index + 1));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// `code` without comments, string literals, characters and lifetimes; line numbers stay the same.
fn without_texts(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => text(rest),
            'r' | 'b' if !kept.ends_with(|c: char| c.is_alphanumeric() || c == '_') => prefixed_text(rest),
            '\'' => character_or_lifetime(rest),
            _ => 0,
        };
        let (skipped, plain) = if length > 0 { (length, false) } else { (c.len_utf8(), true) };
        if plain {
            kept.push(c);
        } else {
            kept.push(' ');
            kept.extend(rest[..skipped].chars().filter(|&c| c == '\n'));
        }
        rest = &rest[skipped..];
    }
    kept
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            break;
        }
    }
    at
}

fn text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`; zero for anything else.
fn prefixed_text(rest: &str) -> usize {
    let prefix = rest.find(|c| !matches!(c, 'r' | 'b')).unwrap_or(rest.len());
    let hashes = rest[prefix..].bytes().take_while(|&b| b == b'#').count();
    let start = prefix + hashes;
    if !matches!(&rest[..prefix], "r" | "b" | "br") || !rest[start..].starts_with('"') {
        return 0;
    }
    if &rest[..prefix] == "b" {
        return start + text(&rest[start..]);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start + 1..].find(&end).map_or(rest.len(), |found| start + 1 + found + end.len())
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let start = at + escaped.len_utf8();
            rest[start..].find('\'').map_or(rest.len(), |end| start + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - 1),
    }
}

/// The Rust files of `package`, in order; none without such a folder.
pub(crate) fn rust_files(root: &Path, package: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    walk(root, &root.join(package), &mut |path| {
        if path.ends_with(".rs") {
            files.extend(read(root, path));
        }
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The text files that git tracks; without git, all but `target` and names that start with a dot.
pub(crate) fn tracked_files(root: &Path) -> Vec<SourceFile> {
    let listed = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    let mut paths: Vec<String> = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
        Ok(_) | Err(_) => Vec::new(),
    };
    if paths.is_empty() {
        walk(root, root, &mut |path| paths.push(path.to_owned()));
    }
    paths.iter().filter_map(|path| read(root, path)).collect()
}

/// The names of the top level.
pub(crate) fn top_level(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).expect("the root can be read");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn walk(root: &Path, folder: &Path, visit: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, visit);
        } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            visit(path);
        }
    }
}

/// `None` for a deleted file that is not committed yet, and for a binary file.
fn read(root: &Path, path: &str) -> Option<SourceFile> {
    let text = String::from_utf8(fs::read(root.join(path)).ok()?).ok()?;
    Some(SourceFile { path: path.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    fn paths(text: &str) -> Vec<String> {
        let named = file("identity/src/x.rs", text).named_paths();
        named
            .into_iter()
            .map(|path| format!("{}@{}:{}", path.parts.join("::"), path.inside.join("."), path.line))
            .collect()
    }

    #[test]
    fn use_trees_are_expanded() {
        let text = "use a::b;\npub(crate) use crate::{c::{self, D as E}, f::*};\nuse ::g::h as i;\n";
        assert_eq!(paths(text), ["a::b@:1", "crate::c::self@:2", "crate::c::D@:2", "crate::f@:2", "g::h@:3"]);
    }

    #[test]
    fn paths_in_code_are_found_with_the_modules_around_them() {
        let text = "fn f() {\n  crate::a::g::<B>(super::super::c::D { x: 1 });\n}\nmod m { use super::k; #[e::f] fn x() {} }\nh::i!();";
        assert_eq!(paths(text), ["crate::a::g@:2", "super::super::c::D@:2", "super::k@m:4", "e::f@m:4", "h::i@:5"]);
    }

    #[test]
    fn comments_string_literals_and_characters_are_no_code() {
        let text = "// a::b\n/* c::d /* e::f */ g::h */ \"i::j \\\" k::l\" r#\"m::n \" o::p\"# b\"q::r\" '\"' '\\'' fn f<'a>(x: &'a s::t) {}";
        assert_eq!(paths(text), ["s::t@:2"]);
    }

    #[test]
    fn unit_tests_are_left_out() {
        assert_eq!(paths("use a::b;\n#[cfg(test)]\nmod tests {\n use c::d;\n}\n"), ["a::b@:1"]);
        assert_eq!(paths("#[cfg(test)]\nuse a::b;\nuse c::d;\n"), ["a::b@:2", "c::d@:3"]);
        assert!(file("shared/src/signing/tests.rs", "use a::b;").is_test());
        assert!(file("tests/black_box.rs", "use a::b;").is_test());
        assert!(!file("tests/harness/lib.rs", "").is_test() && !file("identity/src/x.rs", "").is_test());
    }

    #[test]
    fn a_file_knows_its_module() {
        for (path, module) in [
            ("identity/src/store/mod.rs", "store"),
            ("identity/src/store/a.rs", "store.a"),
            ("identity/src/lib.rs", "lib"),
        ] {
            assert_eq!(file(path, "").module("identity").unwrap().join("."), module);
        }
        assert_eq!(file("shared/src/lib.rs", "").module("identity"), None);
    }
}
