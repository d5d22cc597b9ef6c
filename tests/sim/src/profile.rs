//! Which faults a seed brings, and how often. Every seed has some of them, at rates of its own: what only shows
//! where one fault is frequent and another absent is found too.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_runtime::memory::CheckOrder;
use millrace_runtime::settings::Dispatch;

use crate::dice::Dice;

/// The faults of one run. Rates are times out of 10,000 occasions.
#[derive(Debug, Clone)]
pub struct Profile {
    /// A process dies before or after an operation.
    pub crash: u32,
    /// A process is told to stop, and is started again.
    pub restart: u32,
    /// A process stands still for up to [`Profile::longest_pause`].
    pub pause: u32,
    /// Longest stand-still.
    pub longest_pause: Duration,
    /// An operation takes longer, before or after it takes effect.
    pub delay: u32,
    /// Longest of these.
    pub longest_delay: Duration,
    /// A message is stored, and its writer hears of a time-out.
    pub append_unanswered: u32,
    /// A message is not stored, and its writer hears of a time-out or a failure.
    pub append_lost: u32,
    /// A read, look-up or attachment fails.
    pub read_fails: u32,
    /// A read is answered by a follower that lacks the newest.
    pub lag: u32,
    /// A delivery never arrives; it comes again.
    pub delivery_lost: u32,
    /// A delivery arrives twice.
    pub delivery_twice: u32,
    /// A batch of deliveries arrives late, perhaps later than its acknowledgement wait.
    pub delivery_late: u32,
    /// An acknowledgement never arrives.
    pub answer_lost: u32,
    /// A forge or target does nothing and says that it failed.
    pub world_fails: u32,
    /// A forge or target does what it is asked and says that it failed.
    pub world_fails_after: u32,
    /// The source of specs fails.
    pub source_fails: u32,
    /// The work on an order comes to nothing.
    pub work_fails: u32,
    /// The work on an order never ends by itself.
    pub work_hangs: u32,
    /// Checks that do not pass.
    pub checks_fail: u32,
    /// A release that is not what it should be.
    pub bad_release: u32,
    /// Changes that touch the same file.
    pub conflicts: bool,
    /// Requests of people, for each task.
    pub requests: u32,
    /// Every process has a clock of its own, wrong by up to this.
    pub skew: Duration,
    /// Whether clocks are put right in the end.
    pub skew_heals: bool,
    /// What the server checks first.
    pub order: CheckOrder,
    /// Tasks.
    pub tasks: u64,
    /// Repositories, each with a target.
    pub repositories: u64,
    /// How long the faults last.
    pub faulty_for: Duration,
    /// Who gets a delivery cannot read it, as a version with a defect: a dead letter.
    pub delivery_garbled: u32,
    /// Alarms of logs, raised and lifted while there are faults.
    pub alarms: u64,
    /// Whether one is raised afterwards, with a spec handed in under it.
    pub late_alarm: bool,
    /// Limits on what is under way.
    pub dispatch: Dispatch,
}

/// Clocks that stay wrong are so by less: longer than any limit of a run, and what they put off does not take days.
const LASTING_SKEW: Duration = Duration::from_secs(15 * 60);

/// The one domain that a limit is drawn for; half of the tasks are of it.
pub const LIMITED_DOMAIN: &str = "shop";

impl Profile {
    /// That of a seed.
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "profile");
        let some = |rates: &[u32]| if dice.chance(5_000) { dice.pick(rates).unwrap_or(0) } else { 0 };
        let seconds = Duration::from_secs;
        let drawn = Self {
            crash: some(&[5, 20, 60, 150]),
            restart: some(&[2, 10]),
            pause: some(&[2, 10, 40]),
            longest_pause: dice.pick(&[seconds(8), seconds(45), seconds(120)]).unwrap_or_default(),
            delay: some(&[100, 500, 2_000]),
            longest_delay: dice.pick(&[seconds(1), seconds(4), seconds(12)]).unwrap_or_default(),
            append_unanswered: some(&[30, 200, 1_000]),
            append_lost: some(&[30, 200, 1_000]),
            read_fails: some(&[30, 200, 1_000]),
            lag: some(&[100, 1_000, 5_000]),
            delivery_lost: some(&[50, 500, 2_000]),
            delivery_twice: some(&[50, 500, 3_000]),
            delivery_late: some(&[50, 500]),
            answer_lost: some(&[50, 500, 3_000]),
            world_fails: some(&[100, 1_000, 3_000]),
            world_fails_after: some(&[100, 1_000, 5_000]),
            source_fails: some(&[500, 3_000]),
            work_fails: some(&[500, 2_500]),
            work_hangs: some(&[300, 1_500]),
            checks_fail: some(&[500, 2_000]),
            bad_release: some(&[500, 3_000]),
            conflicts: dice.chance(3_000),
            requests: some(&[1_000, 5_000, 9_000]),
            skew: if dice.chance(2_500) { seconds(3_600) } else { Duration::ZERO },
            skew_heals: dice.chance(5_000),
            order: if dice.chance(5_000) { CheckOrder::DuplicateFirst } else { CheckOrder::ExpectedFirst },
            tasks: match dice.below(20) {
                0 => 20 + dice.below(21),
                1..=4 => 10 + dice.below(10),
                _ => 5 + dice.below(5),
            },
            repositories: 1 + dice.below(3),
            faulty_for: dice.between(seconds(60), seconds(400)),
            delivery_garbled: some(&[5, 30, 100]),
            alarms: if dice.chance(2_500) { 1 + dice.below(3) } else { 0 },
            late_alarm: dice.chance(2_500),
            dispatch: dispatch(&dice),
        };
        Self { skew: if drawn.skew_heals { drawn.skew } else { drawn.skew.min(LASTING_SKEW) }, ..drawn }
    }
}

impl Profile {
    /// How long a fault may still hold somebody up after the last one: a process stands still or comes back to
    /// life, an operation is held up before and after it takes effect.
    pub fn longest_echo(&self) -> Duration {
        let if_any = |rate: u32, longest: Duration| if rate > 0 { longest } else { Duration::ZERO };
        let dead = if_any(self.crash + self.restart, Duration::from_secs(30));
        dead + if_any(self.pause, self.longest_pause) + 3 * if_any(self.delay, self.longest_delay)
    }
}

/// Small limits: with a handful of tasks there is something to wait for.
fn dispatch(dice: &Dice) -> Dispatch {
    let default = Dispatch::default();
    let some = |most: u32, otherwise: u32| {
        if dice.chance(2_500) {
            1 + u32::try_from(dice.below(u64::from(most))).unwrap_or(0)
        } else {
            otherwise
        }
    };
    let limit = |name: &str, most: u32| -> BTreeMap<String, u32> {
        Some(some(most, 0))
            .filter(|limit| *limit > 0)
            .map(|limit| (name.to_owned(), limit))
            .into_iter()
            .collect()
    };
    Dispatch {
        open_offers: some(3, default.open_offers),
        waiting: some(3, default.waiting),
        aging: dice.pick(&[Duration::from_secs(20), default.aging]).unwrap_or(default.aging),
        repositories: limit("repo-0", 2),
        domains: limit(LIMITED_DOMAIN, 3),
    }
}
