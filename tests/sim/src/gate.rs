//! The life of a process as everything outside sees it. Each operation of a process passes its gate before and
//! after it takes effect: there the process dies, stands still or is held up. What a process computes between
//! two operations nobody sees, so a death here is a death between any two of its awaits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_runtime::clock::Clock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::history::History;
use crate::profile::Profile;

/// When every run begins, after 1970-01-01: on 2026-01-01.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Steps of a run. Some need hundreds of thousands, where runs wait for hours and the dispatchers look every second
/// whether there is room; one that needs this many goes round in circles.
const MOST_STEPS: u64 = 3_000_000;

/// What all processes of a run share.
#[derive(Debug)]
pub struct Weather {
    /// The faults.
    pub profile: Profile,
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub history: History,
    started: Instant,
    healed: AtomicBool,
    steps: AtomicU64,
}

impl Weather {
    /// Of a seed; begins now.
    pub fn new(seed: u64, profile: Profile, is_told: bool) -> Self {
        let history = History::new(is_told);
        Self {
            profile,
            seed,
            history,
            started: Instant::now(),
            healed: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }

    /// Whether there are faults now.
    pub fn is_faulty(&self) -> bool {
        !self.healed.load(Ordering::Relaxed)
    }

    /// No faults from here on.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.history.tell("world", || "the world is well again".to_owned());
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(0) + EPOCH + self.started.elapsed()
    }
}

/// The gate of one life of a process.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    weather: Arc<Weather>,
    dice: Arc<Dice>,
    mortal: bool,
    is_dead: AtomicBool,
    died: Notify,
    stop: CancellationToken,
    still_until: Mutex<Option<Instant>>,
}

impl Gate {
    /// Of a process that lives until a fault ends it.
    pub fn new(name: String, weather: Arc<Weather>, dice: Arc<Dice>, mortal: bool) -> Self {
        let inner = Inner {
            name,
            weather,
            dice,
            mortal,
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
            stop: CancellationToken::new(),
            still_until: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Who passes.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it draws from.
    pub fn dice(&self) -> &Dice {
        &self.inner.dice
    }

    /// The run's weather.
    pub fn weather(&self) -> &Weather {
        &self.inner.weather
    }

    /// The order to stop in good order.
    pub fn stop(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Whether a fault happens now; it is counted and told.
    pub fn fault(&self, kind: &'static str, rate: u32, what: impl FnOnce() -> String) -> bool {
        let happens = self.inner.weather.is_faulty() && self.inner.dice.chance(rate);
        if happens {
            self.inner.weather.history.fault(self.name(), kind, what);
        }
        happens
    }

    /// Returns when the process has died.
    pub async fn died(&self) {
        self.inner.died.notified().await;
    }

    /// Dies.
    fn die(&self) {
        self.inner.is_dead.store(true, Ordering::Relaxed);
        self.inner.died.notify_one();
    }

    /// Waits while the process stands still; never returns to a dead one.
    pub async fn pass(&self) {
        loop {
            if self.inner.is_dead.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let until = *self.inner.still_until.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// A place between two effects: the process may die here, stand still, or be held up.
    pub async fn step(&self, place: &'static str) {
        let steps = self.inner.weather.steps.fetch_add(1, Ordering::Relaxed);
        if steps >= MOST_STEPS {
            if steps == MOST_STEPS {
                self.inner.weather.history.trouble(self.name(), format!("goes round in circles {place}"));
            }
            std::future::pending::<()>().await;
        }
        self.pass().await;
        let profile = &self.inner.weather.profile;
        if self.inner.mortal {
            if self.fault("crash", profile.crash, || place.to_owned()) {
                self.die();
            } else if self.fault("restart", profile.restart, || place.to_owned()) {
                self.inner.stop.cancel();
            }
            if self.fault("pause", profile.pause, || place.to_owned()) {
                let pause = self.inner.dice.between(Duration::from_secs(1), profile.longest_pause);
                *self.inner.still_until.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Instant::now() + pause);
            }
        }
        if self.fault("delay", profile.delay, || place.to_owned()) {
            sleep(self.inner.dice.between(Duration::from_millis(1), profile.longest_delay)).await;
        }
        self.pass().await;
    }
}

/// The clock of one process: the true one, wrong by its skew, and it stands still with its process.
pub struct ProcessClock {
    gate: Gate,
    skew_micros: i64,
}

impl ProcessClock {
    /// Drawn for a process: the same in each of its lives.
    pub fn new(gate: Gate, skew_micros: i64) -> Self {
        Self { gate, skew_micros }
    }
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let weather = self.gate.weather();
        let now = weather.now();
        if weather.profile.skew_heals && !weather.is_faulty() {
            return now;
        }
        Timestamp::from_micros(now.as_micros().saturating_add(self.skew_micros))
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
        self.gate.pass().await;
    }
}

/// The server's clock.
pub struct TrueClock(pub Arc<Weather>);

#[async_trait]
impl Clock for TrueClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }
}
