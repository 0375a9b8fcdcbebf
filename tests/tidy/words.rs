//! Words that hide who does what to whom. Comments, texts, names and documents use the terms of the specification instead.
//!
//! Invariant: a word counts wherever it stands, also as a part of an identifier such as a test's name.

use super::source::SourceFile;

/// The words, in two parts so that this file does not contain them.
const WORDS: [(&str, &str); 13] = [
    ("di", "ce"),
    ("an", "ew"),
    ("nob", "ody"),
    ("someb", "ody"),
    ("whoe", "ver"),
    ("to", "ld"),
    ("tel", "ls"),
    ("ne", "ws"),
    ("in va", "in"),
    ("given", " up"),
    ("way", " out"),
    ("comes to", " grief"),
    ("stands", " here"),
];

/// The files that are read: by the end of the name.
const ENDINGS: [&str; 13] = [
    ".rs",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".service",
    ".html",
    ".txt",
    ".sql",
    ".j2",
    ".conf",
    "Dockerfile",
    "Caddyfile",
];

/// Lines in which such a word is right: a part of the path, a part of the line.
const EXEMPT: [(&str, &str); 5] = [
    // A label of metrics.
    ("push-gateway/src/delivery/mod.rs", concat!("\"given", "_up\"")),
    ("tests/harness/postgres.rs", concat!("`nob", "ody`")),
    ("tests/harness/postgres.rs", concat!("\"nob", "ody\"")),
    ("tests/harness/postgres.rs", concat!("postgres or nob", "ody")),
    ("tests/harness/postgres.rs", concat!("nob", "ody:x:")),
];

/// Every line of `files` that contains one of the words, without those below `folders`.
pub(crate) fn private_words(files: &[SourceFile], folders: &[&str]) -> Vec<String> {
    let words = WORDS.map(|(a, b)| format!("{a}{b}"));
    let mut found = Vec::new();
    let is_read = |file: &&SourceFile| {
        (ENDINGS.iter().any(|end| file.path.ends_with(end)) || file.path.starts_with(".ci/"))
            && !folders.iter().any(|folder| file.path.starts_with(folder))
    };
    for file in files.iter().filter(is_read) {
        for (index, line) in file.text.lines().enumerate() {
            let line_lower = line.to_ascii_lowercase().replace('_', " ");
            let is_exempt = |(path, part): &(&str, &str)| file.path.contains(path) && line.contains(part);
            let mut contained = words.iter().filter(|word| contains_word(&line_lower, word)).peekable();
            if contained.peek().is_some() && !EXEMPT.iter().any(is_exempt) {
                let contained: Vec<_> = contained.map(String::as_str).collect();
                found.push(format!("{}:{}: {}", file.path, index + 1, contained.join(", ")));
            }
        }
    }
    found
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_letter = |c: char| c.is_alphanumeric();
        !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::private_words;
    use crate::source::SourceFile;

    fn found(path: &str, text: &str) -> Vec<String> {
        private_words(&[SourceFile { path: path.to_owned(), text: text.to_owned() }], &["clean/later/"])
    }

    #[test]
    fn a_private_word_is_found_in_comments_texts_and_names() {
        let (first, second) = (concat!("nob", "ody"), concat!("to", "ld"));
        for line in [
            format!("//! What {first} is {second}."),
            format!("fn a_user_is_{second}() {{}}"),
            format!("let text = \"{} knows\";", first.to_uppercase()),
            format!("# {first}'s"),
        ] {
            assert_eq!(found("identity/src/a.rs", &format!("\n{line}\n")).len(), 1, "{line}");
        }
        let both = found("a.md", &format!("{first} {second}"));
        assert_eq!(both, [format!("a.md:1: {first}, {second}")]);
    }

    #[test]
    fn other_words_files_and_folders_pass() {
        let word = concat!("to", "ld");
        for (path, text) in
            [("a.rs", "indices, renewed, newspapers, threshold"), ("a.tsv", word), ("clean/later/a.rs", word)]
        {
            assert_eq!(found(path, text), Vec::<String>::new(), "{path} {text}");
        }
    }
}
