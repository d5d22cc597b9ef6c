//! Places where a test lets a process die, between two things that must not be torn apart.
//!
//! `MILLRACE_CRASH_POINT=<name>` makes the process abort when it reaches the place of that name,
//! `<name>:<n>` when it gets there for the n-th time. The host's places are `<service>.<place>.<what>` with
//! the places `appended` (an event, before anything else is done), `performed` (an effect, before its outcome
//! is decided on) and `settled` (nothing is due any more, before the input is acknowledged); what stands
//! behind them may be left out. Only builds with debug assertions have any of this: a release neither reads
//! the variable nor takes it for a setting.

#[cfg(debug_assertions)]
pub use armed::{reached, reached_in};

/// Nothing, in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reached(_point: &str) {}

/// Nothing, in a release.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reached_in(_service: &str, _place: &str, _what: impl FnOnce() -> String) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    const VARIABLE: &str = "MILLRACE_CRASH_POINT";

    /// Where to die, and at which time.
    #[derive(Debug)]
    pub(super) struct Point {
        name: String,
        at: u32,
        seen: AtomicU32,
    }

    /// Ends the process when `point` is the one that was asked for.
    pub fn reached(point: &str) {
        if armed().is_some_and(|armed| armed.meets(point)) {
            die(point);
        }
    }

    /// The same for a place of the host. `what` is made only when a crash was asked for; what follows its
    /// first word, as in the debug form of an effect, does not count.
    pub fn reached_in(service: &str, place: &str, what: impl FnOnce() -> String) {
        let Some(armed) = armed() else { return };
        let what = what();
        let word = what.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        let point = format!("{service}.{place}.{word}");
        if armed.meets(&point) {
            die(&point);
        }
    }

    fn armed() -> Option<&'static Point> {
        static ARMED: OnceLock<Option<Point>> = OnceLock::new();
        ARMED
            .get_or_init(|| crate::launch::environment().get(VARIABLE).and_then(|text| Point::read(text)))
            .as_ref()
    }

    /// No destructor runs and nothing is flushed, as after SIGKILL.
    fn die(point: &str) {
        tracing::error!(point, "the crash that was asked for");
        std::process::abort();
    }

    impl Point {
        pub(super) fn read(text: &str) -> Option<Self> {
            let (name, at) = match text.rsplit_once(':') {
                Some((name, at)) => (name, at.parse().ok()?),
                None => (text, 1),
            };
            Some(Self { name: name.to_owned(), at, seen: AtomicU32::new(0) })
        }

        /// Whether `point` is this one, or one of it, for the time that was asked for.
        pub(super) fn meets(&self, point: &str) -> bool {
            let rest = point.strip_prefix(self.name.as_str());
            let is_this = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            is_this && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.at
        }
    }
}

#[cfg(all(test, debug_assertions))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::armed::Point;

    #[test]
    fn a_point_is_met_at_its_time_by_its_name_or_the_beginning_of_it() {
        let point = Point::read("deployer.performed:2").unwrap();
        assert!(!point.meets("deployer.performed.Merge"));
        assert!(!point.meets("deployer.performedly"), "not the same word");
        assert!(!point.meets("deployer.settled.Merge"));
        assert!(point.meets("deployer.performed.Deploy"));
        assert!(!point.meets("deployer.performed"), "once");
        assert!(Point::read("deployer.merged").unwrap().meets("deployer.merged"));
        assert!(Point::read("deployer.merged:x").is_none());
    }
}
