//! The demo: the real identity server amid a fake homeserver, mail server and SMS provider, the real push gateway between
//! a homeserver and a fake Apple and Google, and the stories of their users, told request by request.
//!
//! Invariant: it ends with 0 only if every step was answered as it should be; otherwise it names the step and why.

mod gateway;
mod keep;
mod narrator;
mod stage;
mod stories;

use std::any::Any;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures_util::FutureExt;

use gateway::Gateway;
use narrator::{Failure, Narrator};
use stage::Stage;
use stories::{email, invitation, number, push};

const USAGE: &str = "\
Starts the real identity server in a temporary folder, with a fake homeserver, mail server and SMS provider around it,
then the real push gateway, with a fake Apple and a fake Google, and walks through the stories of their users. Nothing
leaves this machine, and nothing stays on it.

usage: cargo demo [OPTION]

  --keep     leave everything running at the end, and tell how to talk to it, until Ctrl-C
  --help     this text
";

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Tell { keep: bool },
    Help,
    Unknown(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Wish::Tell { keep } => tell(keep).await,
        Wish::Help => {
            // Nothing to do about a closed terminal.
            drop(io::stdout().write_all(USAGE.as_bytes()));
            ExitCode::SUCCESS
        }
        Wish::Unknown(argument) => {
            drop(write!(io::stderr(), "demo: what is \"{argument}\"?\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn read(arguments: impl Iterator<Item = String>) -> Wish {
    let mut keep = false;
    for argument in arguments {
        match argument.as_str() {
            // The alias has given cargo its "--" already; `cargo demo -- --keep` brings a second one here.
            "--" => {}
            "--keep" => keep = true,
            "--help" | "-h" => return Wish::Help,
            _ => return Wish::Unknown(argument),
        }
    }
    Wish::Tell { keep }
}

async fn tell(keep: bool) -> ExitCode {
    // The harness panics when the world does not do what it must; here that ends a story, not in a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let mut narrator = Narrator::to_stdout();
    let told = tokio::select! {
        told = AssertUnwindSafe(stories(&mut narrator)).catch_unwind() => told,
        // Leaves nothing behind: the stage goes with the story.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    let told = told.unwrap_or_else(|panic| Err(Failure(text_of(panic.as_ref()))));
    match told {
        Ok((stage, left, gateway)) => {
            narrator.all_is_well();
            if keep {
                keep::until_interrupted(&stage, &left, &gateway, &mut narrator).await;
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            narrator.went_wrong(&failure);
            ExitCode::FAILURE
        }
    }
}

/// All stories, one after the other, each service on its stage.
async fn stories(narrator: &mut Narrator) -> Result<(Stage, email::Left, Gateway), Failure> {
    let stage = Stage::set(narrator).await;
    let left = email::tell(&stage, narrator).await?;
    invitation::tell(&stage, &left, narrator).await?;
    number::tell(&stage, &left, narrator).await?;
    let gateway = Gateway::set(narrator).await;
    push::tell(&gateway, narrator).await?;
    Ok((stage, left, gateway))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic that says nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Wish, read};

    #[test]
    fn the_command_line_is_told_from_what_is_none() {
        let read = |arguments: &[&str]| read(arguments.iter().map(|argument| (*argument).to_owned()));
        assert_eq!(read(&[]), Wish::Tell { keep: false });
        assert_eq!(read(&["--keep"]), Wish::Tell { keep: true });
        assert_eq!(read(&["--", "--keep"]), Wish::Tell { keep: true });
        assert_eq!(read(&["--keep", "--help"]), Wish::Help);
        assert_eq!(read(&["--kep"]), Wish::Unknown("--kep".to_owned()));
    }
}
