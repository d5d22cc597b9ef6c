//! Rates and cooldowns of one model, over all workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Shared, SharedError, change, look};
use crate::crew::{Cooldown, Limits};

const MINUTE: i64 = 60_000_000;

/// A model's entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meter {
    /// Which minute `requests` and `tokens` count, since 1970.
    minute: i64,
    requests: u64,
    tokens: u64,
    /// Requests under way, by ticket, and when each counts no more, in microseconds since 1970.
    running: BTreeMap<String, i64>,
    /// When requests failed lately.
    failed: Vec<i64>,
    /// Until when the model is left alone.
    cooled_until: i64,
}

/// Why a model may not be asked now, and from when on it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) why: String,
    pub(crate) until: i64,
    /// Whether for its rate; otherwise it has failed lately.
    pub(crate) by_rate: bool,
}

/// How long those wait who found all places taken: a place may be free at any moment.
const PLACE_PAUSE: i64 = 500_000;
/// Failures that are remembered of one model.
const MOST_FAILURES: usize = 1000;

impl Meter {
    /// Why a request of about so many tokens may not be sent now.
    pub(crate) fn holds(&self, limits: Limits, tokens: u64, now: i64) -> Option<Held> {
        if self.cooled_until > now {
            let seconds = (self.cooled_until - now).div_euclid(1_000_000) + 1;
            let why = format!("cooldown: it failed lately and is left alone for {seconds} s");
            return Some(Held { why, until: self.cooled_until, by_rate: false });
        }
        let this_minute = now.div_euclid(MINUTE);
        let next_minute = (this_minute + 1) * MINUTE;
        let (requests, used) = if self.minute == this_minute { (self.requests, self.tokens) } else { (0, 0) };
        let held = |why: String, until| Some(Held { why, until, by_rate: true });
        if let Some(most) = limits.rpm.filter(|most| requests >= *most) {
            return held(format!("rate: {most} requests a minute are used up"), next_minute);
        }
        // A question that is larger than the limit alone is let through in a fresh minute: it would never be else.
        if let Some(most) = limits.tpm.filter(|most| used > 0 && used.saturating_add(tokens) > *most) {
            return held(format!("rate: {most} tokens a minute are used up"), next_minute);
        }
        let running = self.running.values().filter(|until| **until > now).count();
        if let Some(most) =
            limits.max_parallel.filter(|most| u64::try_from(running).unwrap_or(u64::MAX) >= *most)
        {
            return held(format!("rate: {most} requests are under way"), now + PLACE_PAUSE);
        }
        None
    }
}

/// The key of a model's entry.
fn key(model: &str) -> String {
    format!("model.{model}")
}

/// A model's meter.
pub(crate) async fn read(shared: &dyn Shared, model: &str) -> Result<Meter, SharedError> {
    look(shared, &key(model)).await
}

/// A place for a request.
#[derive(Debug)]
pub(crate) struct Place {
    model: String,
    ticket: String,
    minute: i64,
    tokens: u64,
}

/// Takes a place for a request of about so many tokens, or says why there is none. Costs nothing without limits.
pub(crate) async fn enter(
    shared: &dyn Shared,
    model: &str,
    limits: Limits,
    tokens: u64,
    until: i64,
) -> Result<Result<Option<Place>, Held>, SharedError> {
    if !limits.any() {
        return Ok(Ok(None));
    }
    let ticket = shared.ticket();
    let entered = change(shared, &key(model), |meter: &mut Meter| {
        let now = shared.now();
        meter.running.retain(|_, until| *until > now);
        if let Some(held) = meter.holds(limits, tokens, now) {
            return (false, Err(held));
        }
        let minute = now.div_euclid(MINUTE);
        if meter.minute != minute {
            (meter.minute, meter.requests, meter.tokens) = (minute, 0, 0);
        }
        meter.requests += 1;
        meter.tokens = meter.tokens.saturating_add(tokens);
        meter.running.insert(ticket.clone(), until);
        (true, Ok(minute))
    })
    .await?;
    Ok(entered.map(|minute| Some(Place { model: model.to_owned(), ticket, minute, tokens })))
}

/// Gives a place back; `used`: the tokens that it really took, if that is known.
pub(crate) async fn leave(shared: &dyn Shared, place: Place, used: Option<u64>) -> Result<(), SharedError> {
    change(shared, &key(&place.model), |meter: &mut Meter| {
        meter.running.remove(&place.ticket);
        if meter.minute == place.minute {
            let others = meter.tokens.saturating_sub(place.tokens);
            meter.tokens = others.saturating_add(used.unwrap_or(place.tokens));
        }
        (true, ())
    })
    .await
}

/// Notes a failure; enough of them, or a provider that asks for a pause until `asked`, cool the model down.
pub(crate) async fn failed(
    shared: &dyn Shared,
    model: &str,
    cooldown: Cooldown,
    asked: Option<i64>,
) -> Result<(), SharedError> {
    change(shared, &key(model), |meter: &mut Meter| {
        let now = shared.now();
        let window = i64::try_from(cooldown.window().as_micros()).unwrap_or(i64::MAX);
        meter.failed.retain(|at| now.saturating_sub(*at) < window);
        if meter.failed.len() < MOST_FAILURES {
            meter.failed.push(now);
        }
        if meter.failed.len() >= usize::try_from(cooldown.after_fails).unwrap_or(usize::MAX) {
            let length = i64::try_from(cooldown.length().as_micros()).unwrap_or(i64::MAX);
            meter.cooled_until = meter.cooled_until.max(now.saturating_add(length));
            meter.failed.clear();
        }
        meter.cooled_until = meter.cooled_until.max(asked.unwrap_or(0));
        (true, ())
    })
    .await
}
