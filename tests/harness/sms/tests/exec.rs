//! The program that sends messages.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sms::{Ending, Script};
use crate::wait::wait_until;

fn run(script: &Script, input: &str) -> Child {
    let mut child = Command::new(script.path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child
}

#[test]
fn it_keeps_its_input_and_ends_with_the_code() {
    let folder = tempfile::tempdir().unwrap();
    let good = Script::write(folder.path(), "send.sh", Ending::Code(0));
    let bad = Script::write(folder.path(), "fail.sh", Ending::Code(75));
    assert!(good.inputs().is_empty());
    assert_eq!(run(&good, "{\"to\":\"447700900001\"}\n").wait().unwrap().code(), Some(0));
    assert_eq!(run(&good, "second").wait().unwrap().code(), Some(0));
    assert_eq!(run(&bad, "").wait().unwrap().code(), Some(75));
    assert_eq!(good.inputs(), ["{\"to\":\"447700900001\"}\n", "second"]);
    assert_eq!(bad.inputs(), [""]);
}

#[tokio::test]
async fn one_that_never_ends_has_read_its_input_and_can_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::write(folder.path(), "hang.sh", Ending::Never);
    let mut child = run(&script, "text");
    wait_until("the input", Duration::from_secs(10), || script.inputs() == ["text"]).await;
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
}
