//! The demo: the real identity server with a fake homeserver, mail relay and SMS provider, the real push gateway with a
//! fake APNs, FCM and push service of endpoints, and the stories of their users, request by request.
//!
//! Invariant: the exit code is 0 only if every check succeeded; otherwise the demo names the step and the reason.

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
use harness::world::push::World;

use narrator::{Failure, Narrator};
use stage::Stage;
use stories::{email, invitation, number, push, web_push};

const USAGE: &str = "\
Starts the real identity server in a temporary folder with a fake homeserver, mail relay and SMS provider, then the real
push gateway with a fake APNs and FCM, and runs through the stories of their users. Uses no network but 127.0.0.1, and
deletes its files at the end.

usage: cargo demo [OPTION]

  --keep     keep everything running until Ctrl-C, and print requests to try
  --help     print this text
";

#[derive(Debug, PartialEq, Eq)]
enum Arguments {
    Run { keep: bool },
    Help,
    Unknown(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Arguments::Run { keep } => run(keep).await,
        Arguments::Help => {
            // The terminal may be closed.
            drop(io::stdout().write_all(USAGE.as_bytes()));
            ExitCode::SUCCESS
        }
        Arguments::Unknown(argument) => {
            drop(write!(io::stderr(), "demo: unknown argument \"{argument}\"\n\n{USAGE}"));
            ExitCode::from(2)
        }
    }
}

fn read(arguments: impl Iterator<Item = String>) -> Arguments {
    let mut keep = false;
    for argument in arguments {
        match argument.as_str() {
            // The alias has given cargo its "--" already; `cargo demo -- --keep` brings a second one here.
            "--" => {}
            "--keep" => keep = true,
            "--help" | "-h" => return Arguments::Help,
            _ => return Arguments::Unknown(argument),
        }
    }
    Arguments::Run { keep }
}

async fn run(keep: bool) -> ExitCode {
    // The harness panics on a failure; here a panic ends the story without a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let mut narrator = Narrator::to_stdout();
    let result = tokio::select! {
        result = AssertUnwindSafe(stories(&mut narrator)).catch_unwind() => result,
        // Dropping the stories ends every process and deletes every file.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    let result = result.unwrap_or_else(|panic| Err(Failure(text_of(panic.as_ref()))));
    match result {
        Ok((stage, account, gateway)) => {
            narrator.all_is_well();
            if keep {
                keep::until_interrupted(&stage, &account, &gateway, &mut narrator).await;
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            narrator.failed(&failure);
            ExitCode::FAILURE
        }
    }
}

/// All stories, one after the other.
async fn stories(narrator: &mut Narrator) -> Result<(Stage, email::Account, World), Failure> {
    let stage = Stage::set(narrator).await;
    let account = email::run(&stage, narrator).await?;
    invitation::run(&stage, &account, narrator).await?;
    number::run(&stage, &account, narrator).await?;
    let (gateway, service) = gateway::start(narrator).await;
    push::run(&gateway, narrator).await?;
    web_push::run(&gateway, &service, narrator).await?;
    Ok((stage, account, gateway))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Arguments, read};

    #[test]
    fn unknown_arguments_are_rejected() {
        let read = |arguments: &[&str]| read(arguments.iter().map(|argument| (*argument).to_owned()));
        assert_eq!(read(&[]), Arguments::Run { keep: false });
        assert_eq!(read(&["--keep"]), Arguments::Run { keep: true });
        assert_eq!(read(&["--", "--keep"]), Arguments::Run { keep: true });
        assert_eq!(read(&["--keep", "--help"]), Arguments::Help);
        assert_eq!(read(&["--kep"]), Arguments::Unknown("--kep".to_owned()));
    }
}
