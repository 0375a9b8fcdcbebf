//! A program that sends messages, for the provider that runs one: it records its input and ends as the test sets.
//!
//! Invariant: what it read is seen whole or not at all; no process has the script open for writing when it is there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// A shell script in a folder of the test's.
#[derive(Debug)]
pub struct Script {
    path: PathBuf,
}

/// How the script ends, after it has read its standard input to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(u8),
    /// Not, for ten minutes.
    Never,
    /// With exit code 0, once the test releases it.
    Held,
}

impl Script {
    /// Writes `folder/name`.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn write(folder: &Path, name: &str, ending: Ending) -> Self {
        let path = folder.join(name);
        let ending = match ending {
            Ending::Code(code) => format!("exit {code}"),
            Ending::Held => format!("while [ ! -e '{}.released' ]; do sleep 0.05; done", path.display()),
            Ending::Never => String::from("exec sleep 600"),
        };
        let file = path.display();
        let text = format!("#!/bin/sh\ncat > '{file}.part.'$$ && mv '{file}.part.'$$ '{file}.input.'$$\n{ending}\n");
        // By a shell: a file that this process had open might be passed on to a child that another test starts, and
        // Linux runs no file that a process may write to.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let written = shell.stdin.take().expect("a pipe").write_all(text.as_bytes());
        let ended = shell.wait().unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(written.is_ok() && ended.success(), "{file}: {written:?}, {ended}");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends all held runs.
    ///
    /// # Panics
    /// If the folder takes no file.
    pub fn release(&self) {
        std::fs::write(format!("{}.released", self.path.display()), "").expect("the folder takes files");
    }

    /// What each run so far has read, oldest first.
    ///
    /// # Panics
    /// If the folder cannot be read.
    pub fn inputs(&self) -> Vec<String> {
        let folder = self.path.parent().expect("a file is in a folder");
        let start = format!("{}.input.", self.path.file_name().and_then(|name| name.to_str()).expect("a plain name"));
        let mut inputs: Vec<(SystemTime, String)> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            .map(|entry| {
                let written = entry.metadata().and_then(|metadata| metadata.modified()).expect("a file has a time");
                (written, std::fs::read_to_string(entry.path()).expect("a text"))
            })
            .collect();
        inputs.sort();
        inputs.into_iter().map(|(_, text)| text).collect()
    }
}
