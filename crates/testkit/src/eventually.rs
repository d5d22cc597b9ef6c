//! Waiting for a condition with a bound, instead of sleeping.

use std::time::Duration;
use tokio::time::{Instant, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it says yes, and returns what it found; panics with `what` after
/// `bound`. A probe answers `bool` or `Option<T>`. Under paused tokio time the waiting costs nothing.
///
/// The macro [`eventually!`](crate::eventually!) says where it stood, too.
pub async fn eventually<Probe, Answer, Found>(what: &str, bound: Duration, mut probe: Probe) -> Found
where
    Probe: AsyncFnMut() -> Answer,
    Answer: Outcome<Found>,
{
    let deadline = Instant::now() + bound;
    let mut pause = FIRST_PAUSE;
    let mut tries = 0_u32;
    loop {
        tries += 1;
        if let Some(found) = probe().await.found() {
            return found;
        }
        if Instant::now() >= deadline {
            panic!("not within {bound:?} ({tries} tries): {what}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a probe may answer.
pub trait Outcome<Found> {
    /// The thing waited for, or nothing yet.
    fn found(self) -> Option<Found>;
}

impl Outcome<()> for bool {
    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome<T> for Option<T> {
    fn found(self) -> Option<T> {
        self
    }
}

/// `eventually!(Duration, "what", expression)`: evaluates the expression, which may await, until it is
/// `true` or `Some`, and gives what was found. Without a sentence the expression itself is the message.
#[macro_export]
macro_rules! eventually {
    ($bound:expr, $what:literal, $probe:expr) => {
        $crate::eventually(concat!($what, " (", file!(), ":", line!(), ")"), $bound, async || $probe).await
    };
    ($bound:expr, $probe:expr) => {
        $crate::eventually(
            concat!(stringify!($probe), " (", file!(), ":", line!(), ")"),
            $bound,
            async || $probe,
        )
        .await
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn returns_what_the_probe_found() {
        let tries = Cell::new(0);
        let found = eventually!(Duration::from_secs(1), "the third try", {
            tries.set(tries.get() + 1);
            (tries.get() == 3).then(|| tries.get())
        });
        assert_eq!(found, 3);
        eventually!(Duration::from_secs(1), tries.get() == 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s (")]
    async fn says_what_did_not_happen() {
        eventually!(Duration::from_secs(1), "the impossible", false);
    }
}
