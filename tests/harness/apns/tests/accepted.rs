//! Shows that the fake Apple knows what it took, and what became of its answers.

use std::time::Duration;

use super::{BODY, apple, connect, device, request, send};
use crate::apns::{Fault, Loss};

#[tokio::test]
async fn it_knows_what_it_accepted_and_which_answers_were_lost() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    let mut expected = Vec::new();
    for (fault, accepted, answered) in [
        (Fault::text(200, ""), true, true),
        (Fault::text(200, "x").broken(), true, true),
        (Fault::error(503, "Shutdown"), false, true),
        (Fault::Reset(2), false, false),
        (Fault::GoAway { reason: "Shutdown", two_phase: false }, false, false),
        (Fault::Cut, false, false),
        (Fault::Lose(Loss::Reset(2)), true, false),
        (Fault::Lose(Loss::Cut), true, false),
    ] {
        let sender = connect(&apple).await;
        assert_eq!(send(&sender, request(&apple, &device(), &[]), BODY).await.unwrap().0, 200);
        apple.fault_times("ab", 1, fault);
        // Whether it is an answer or an error is another test's matter.
        drop(send(&sender, request(&apple, &device(), &[]), BODY).await);
        expected.extend([(true, true), (accepted, answered)]);
    }
    apple.fault_times("ab", 1, Fault::Lose(Loss::Silence));
    let sender = connect(&apple).await;
    let silence = send(&sender, request(&apple, &device(), &[]), BODY);
    assert!(tokio::time::timeout(Duration::from_millis(50), silence).await.is_err());
    apple.fault_by(|request| (request.device() == device()).then(|| Fault::error(500, "InternalServerError")));
    assert_eq!(send(&sender, request(&apple, &device(), &[]), BODY).await.unwrap().0, 500);
    expected.extend([(true, false), (false, true)]);
    // A push that is not in order is not accepted, whatever its fault.
    apple.fault_times("ab", 1, Fault::Lose(Loss::Cut));
    assert_eq!(send(&sender, request(&apple, &device(), &[("apns-topic", "")]), BODY).await.unwrap().0, 400);
    expected.push((false, true));
    let found: Vec<_> = apple.requests().iter().map(|request| (request.is_accepted, request.was_answered())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_push_that_was_taken_is_left_out_by_no_later_go_away() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    let sender = connect(&apple).await;
    let (early, late) = ("cd".repeat(32), device());
    apple.fault_times(&early, 1, Fault::GoAway { reason: "Shutdown", two_phase: true });
    apple.fault_times(&late, 1, Fault::GoAway { reason: "Shutdown", two_phase: true });
    let (first, second, third) = tokio::join!(
        send(&sender, request(&apple, &early, &[]), BODY),
        send(&sender, request(&apple, &late, &[]), BODY),
        send(&sender, request(&apple, &late, &[]), BODY),
    );
    assert_eq!(third.unwrap().0, 200);
    // The third was taken at once, so the first and the second are answered too.
    assert_eq!((first.unwrap().0, second.unwrap().0), (200, 200));
    assert!(apple.requests().iter().all(|request| request.is_accepted && request.was_answered()));
}
