//! Which model is asked: capability, residency and retention, budget, cooldown and rates, then policy (S3-4.2b).
//!
//! Everything is decided from what is passed in. Every model that could have been asked is listed with why it was
//! not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crew::{Crew, Model, OnExhausted, Policy, RoleConfig, micro};
use crate::router::Ask;
use crate::shared::account::{Account, Balance, Limit, Short};
use crate::shared::meter::{Held, Meter};

/// A model that could have been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Its name in the crew file.
    pub name: String,
    /// Who offers it.
    pub provider: String,
    /// Why it was not asked, such as `residency: eu is required, us is offered`; empty for the one that was.
    pub dropped: String,
}

/// What is known when a model is chosen.
pub(crate) struct Situation<'a> {
    pub(crate) crew: &'a Crew,
    pub(crate) config: &'a RoleConfig,
    pub(crate) ask: &'a Ask,
    /// Of the question: system prompt, conversation and schema.
    pub(crate) bytes: usize,
    /// Models that failed on this question, and how.
    pub(crate) failed: &'a BTreeMap<String, String>,
    /// The one model that may be asked, if a fallback named it.
    pub(crate) only: Option<&'a str>,
    /// The model that gave the answer before this one.
    pub(crate) prefer: Option<&'a str>,
    pub(crate) accounts: &'a [Account],
    pub(crate) balances: &'a [Balance],
    pub(crate) meters: &'a BTreeMap<String, Meter>,
    pub(crate) latencies: &'a BTreeMap<String, Duration>,
    /// In microseconds since 1970.
    pub(crate) now: i64,
    /// For the lot.
    pub(crate) seed: u64,
}

/// The model that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) name: String,
    pub(crate) considered: Vec<Considered>,
    pub(crate) downgraded: bool,
    pub(crate) bill: Bill,
}

/// What one request may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bill {
    /// The most that it can cost, in millionths of a US dollar.
    pub(crate) most: u64,
    /// The most output tokens that may be asked for.
    pub(crate) output: Option<u64>,
    /// About how many tokens it takes.
    pub(crate) tokens: u64,
}

/// Why no model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// One may be asked later.
    Yet(Held),
    /// There is no money left.
    Money(Short, String),
    /// The question is longer than any of them can read.
    Window(String),
    /// For several reasons, each with its model.
    Fits(String),
}

/// Why one model is not asked.
#[derive(Debug, Clone)]
enum Ground {
    Failed(String),
    Capability(String),
    Window(String),
    Rule(String),
    Money(Short),
    Held(Held),
}

/// Bytes that make one token, at least: what a price is reserved for. Code and prose have 3 to 4, scripts with 3 bytes
/// a character 2.
const BYTES_PER_TOKEN_LEAST: u64 = 2;
/// Bytes that make one token, usually: what a window is compared with. The provider has the last word.
const BYTES_PER_TOKEN_USUAL: u64 = 4;
/// An answer of fewer tokens is worth nothing.
const SHORTEST_ANSWER: u64 = 256;
/// The answer that models are compared by where the cheapest is wanted.
const USUAL_ANSWER: u64 = 2000;

impl Situation<'_> {
    /// The model that is asked.
    pub(crate) fn choose(&self) -> Result<Pick, Nobody> {
        let order = self.order();
        let chosen = self.among(&order);
        let Some(light) = self.light() else { return chosen };
        let step_down = match &chosen {
            Ok(pick) => pick.bill.most > 0 && pick.name != light && self.is_low(),
            Err(Nobody::Money(..)) => true,
            Err(_) => false,
        };
        if !step_down {
            return chosen;
        }
        // Where the light model cannot serve, the role's own go on until all is spent.
        let Ok(pick) = self.among(&[light]) else { return chosen };
        let spared = "budget: 90 % are spent or what is left is too little: the light model is asked";
        let others = order.iter().filter(|name| **name != light);
        let others = others.map(|name| self.considered(name, spared.to_owned()));
        let considered = pick.considered.into_iter().chain(others).collect();
        Ok(Pick { downgraded: true, considered, ..pick })
    }

    fn light(&self) -> Option<&str> {
        let wanted = self.crew.defaults.budget.on_exhausted == OnExhausted::Downgrade;
        let light = self.crew.fallbacks.lightweight.as_deref()?;
        (wanted && self.config.lightweight && self.only.is_none()).then_some(light)
    }

    fn is_low(&self) -> bool {
        self.accounts
            .iter()
            .zip(self.balances)
            .any(|(account, balance)| balance.is_low(account.limit, self.now))
    }

    fn among(&self, order: &[&str]) -> Result<Pick, Nobody> {
        let judged: Vec<_> = order.iter().map(|name| (*name, self.judge(name))).collect();
        let usable = |name: &str| judged.iter().find(|(found, bill)| *found == name && bill.is_ok());
        let preferred = self.prefer.and_then(usable);
        let picked = preferred.or_else(|| judged.iter().find(|(_, bill)| bill.is_ok()));
        let Some((name, Ok(bill))) = picked else { return Err(nobody(&judged)) };
        let considered = judged.iter().map(|(other, found)| {
            let dropped = match found {
                Ok(_) if other == name => String::new(),
                Ok(_) => format!("policy: {} puts `{name}` first", self.config.policy.name()),
                Err(drop) => drop.words(),
            };
            self.considered(other, dropped)
        });
        let considered = considered.collect();
        Ok(Pick { name: (*name).to_owned(), considered, downgraded: false, bill: *bill })
    }

    fn considered(&self, name: &str, dropped: String) -> Considered {
        let provider = self.crew.models.get(name).map(|model| model.provider.clone()).unwrap_or_default();
        Considered { name: name.to_owned(), provider, dropped }
    }

    fn judge(&self, name: &str) -> Result<Bill, Ground> {
        if let Some(how) = self.failed.get(name) {
            return Err(Ground::Failed(how.clone()));
        }
        let Some(model) = self.crew.models.get(name) else {
            return Err(Ground::Rule("crew: it is not among the models".to_owned()));
        };
        self.capability(model)?;
        self.places(model)?;
        self.difference(model)?;
        let bill = self.bill(model)?;
        for (account, balance) in self.accounts.iter().zip(self.balances) {
            if bill.most > 0
                && let Some(short) = balance.short_of(bill.most, account, self.now)
            {
                return Err(Ground::Money(short));
            }
        }
        let meter = self.meters.get(name);
        match meter.and_then(|meter| meter.holds(model.limits, bill.tokens, self.now)) {
            Some(held) => Err(Ground::Held(held)),
            None => Ok(bill),
        }
    }

    fn capability(&self, model: &Model) -> Result<(), Ground> {
        let (required, supports) = (&self.config.require, model.supports);
        for (name, wanted, has) in [
            ("json_schema", required.json_schema, supports.json_schema),
            ("tools", required.tools, supports.tools),
            ("seed", required.seed, supports.seed),
        ] {
            if wanted && !has {
                return Err(Ground::Capability(format!("capability: {name} is required and not supported")));
            }
        }
        let Some(window) = model.context_window else { return Ok(()) };
        if let Some(least) = required.context_window.filter(|least| window < *least) {
            let words = format!("capability: a window of {least} tokens is required, it has {window}");
            return Err(Ground::Capability(words));
        }
        let question = self.question(BYTES_PER_TOKEN_USUAL);
        if question.saturating_add(SHORTEST_ANSWER) > window {
            let words = format!("window: the question has about {question} tokens, it reads {window}");
            return Err(Ground::Window(words));
        }
        Ok(())
    }

    /// Where what is sent may go, and how long it may stay.
    fn places(&self, model: &Model) -> Result<(), Ground> {
        let rule = |words: String| Err(Ground::Rule(words));
        let required = &self.config.require;
        let repository = self.crew.repositories.get(&self.ask.repository).cloned().unwrap_or_default();
        for allowed in [&self.ask.data_residency, &required.data_residency, &repository.data_residency] {
            if allowed.is_empty() || model.is_recipe() {
                continue;
            }
            let offered = &model.data_residency;
            if offered.is_empty() || offered.iter().any(|place| !allowed.contains(place)) {
                let offered = if offered.is_empty() { "unknown".to_owned() } else { offered.join(", ") };
                return rule(format!(
                    "residency: {} is required, {offered} is offered",
                    allowed.join(" or ")
                ));
            }
        }
        let longest = [self.ask.data_retention, required.data_retention, repository.data_retention];
        for longest in longest.into_iter().flatten() {
            if !model.is_recipe() && model.data_retention.is_none_or(|kept| kept > longest) {
                let kept = model.data_retention.map_or_else(|| "unknown".to_owned(), String::from);
                return rule(format!("retention: {} is required, {kept} is offered", String::from(longest)));
            }
        }
        let named = self.config.candidates.iter().filter_map(|name| self.crew.models.get(name));
        if named.into_iter().all(|named| named.provider != model.provider) {
            return rule(format!("provider: the role names no model of {}", model.provider));
        }
        Ok(())
    }

    /// The same model may not do the work and judge it (S4-ROLE).
    fn difference(&self, model: &Model) -> Result<(), Ground> {
        let Some(other) = self.config.must_differ_from else { return Ok(()) };
        let mut earlier = self.ask.earlier.iter().filter(|earlier| earlier.role == other).peekable();
        let same = match earlier.peek() {
            Some(_) => earlier.any(|earlier| model.is(&earlier.provider, &earlier.model)),
            // Who did the work is not known: nobody who may have.
            None => {
                let mut others =
                    self.crew.reachable(other).into_iter().filter_map(|name| self.crew.models.get(name));
                others.any(|other| model.is(&other.provider, &other.model_id))
            }
        };
        if same {
            let words = format!("role: it must differ from the {}, which is the same model", other.name());
            return Err(Ground::Rule(words));
        }
        Ok(())
    }

    fn question(&self, bytes_per_token: u64) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX / 2) / bytes_per_token + 1
    }

    /// What a request may come to; the answer is as long as the limit of one call allows.
    fn bill(&self, model: &Model) -> Result<Bill, Ground> {
        let price = model.price();
        let input = self.question(BYTES_PER_TOKEN_LEAST);
        let tokens = self.question(BYTES_PER_TOKEN_USUAL);
        if price.most_micro_usd(1_000_000, 1_000_000) == 0 {
            return Ok(Bill { most: 0, output: model.max_output_tokens, tokens });
        }
        let limit = micro(self.crew.defaults.budget.per_call_usd);
        let output = model.output_tokens().min(price.affordable_output(input, limit));
        let most = price.most_micro_usd(input, output);
        if output < SHORTEST_ANSWER.min(model.output_tokens()) || most > limit {
            let short = Short { which: Limit::Call, limit, spent: 0, waits: false };
            return Err(Ground::Money(short));
        }
        Ok(Bill { most, output: Some(output), tokens })
    }

    /// The names in the order of the policy.
    fn order(&self) -> Vec<&str> {
        if let Some(only) = self.only {
            return vec![only];
        }
        let mut names: Vec<&str> = self.config.candidates.iter().map(String::as_str).collect();
        match self.config.policy {
            Policy::Ordered => {}
            Policy::Cheapest => names.sort_by_key(|name| {
                let input = self.question(BYTES_PER_TOKEN_USUAL);
                self.crew.models.get(*name).map(|model| model.price().most_micro_usd(input, USUAL_ANSWER))
            }),
            Policy::Fastest => self.by_speed(&mut names),
            Policy::Weighted => self.by_lot(&mut names),
        }
        names
    }

    /// The fastest first; those about as fast keep their order. Who has not answered yet is tried first.
    fn by_speed(&self, names: &mut [&str]) {
        let speed = |name: &&str| self.latencies.get(*name).copied().unwrap_or_default();
        let known = names.iter().map(speed).filter(|speed| !speed.is_zero());
        let Some(best) = known.min() else { return };
        let buffer = best * self.crew.defaults.latency_buffer_percent / 100;
        names.sort_by_key(|name| match speed(name) {
            speed if speed.is_zero() => (0, speed),
            speed if speed <= best + buffer => (1, Duration::ZERO),
            speed => (2, speed),
        });
    }

    /// By lot without replacement, repeatable by the seed.
    fn by_lot(&self, names: &mut Vec<&str>) {
        let mut state = self.seed;
        let mut drawn = Vec::with_capacity(names.len());
        let weight = |name: &str| u64::from(self.config.weights.get(name).copied().unwrap_or(1));
        while !names.is_empty() {
            let total: u64 = names.iter().map(|name| weight(name)).sum();
            let mut ticket = next_random(&mut state) % total.max(1);
            let hit = names.iter().position(|name| {
                let weight = weight(name);
                let hit = ticket < weight;
                ticket = ticket.saturating_sub(weight);
                hit
            });
            drawn.push(names.remove(hit.unwrap_or(0)));
        }
        *names = drawn;
    }
}

impl Ground {
    fn words(&self) -> String {
        match self {
            Self::Failed(how) => format!("failed: {how}"),
            Self::Capability(words) | Self::Window(words) | Self::Rule(words) => words.clone(),
            Self::Money(short) => short.words(),
            Self::Held(held) => held.why.clone(),
        }
    }
}

impl Short {
    /// One line for records and errors.
    pub(crate) fn words(&self) -> String {
        let limit = usd(self.limit);
        match self.which {
            Limit::Call => format!("budget: one call may cost no more than {limit}, and this one could"),
            which => {
                format!("budget: the {} may cost {limit}, and {} are spent", which.name(), usd(self.spent))
            }
        }
    }
}

/// Millionths of a US dollar as people write them.
pub(crate) fn usd(micro: u64) -> String {
    format!("{}.{:06} USD", micro / 1_000_000, micro % 1_000_000)
}

/// Why nobody of these is asked: what passes first, then money, then the window.
fn nobody(judged: &[(&str, Result<Bill, Ground>)]) -> Nobody {
    let drops: Vec<(&str, &Ground)> =
        judged.iter().filter_map(|(name, judged)| Some((*name, judged.as_ref().err()?))).collect();
    let words = || {
        let lines: Vec<String> =
            drops.iter().map(|(name, drop)| format!("`{name}` ({})", drop.words())).collect();
        lines.join(", ")
    };
    let held = drops.iter().filter_map(|(_, drop)| match drop {
        Ground::Held(held) => Some(held),
        _ => None,
    });
    if let Some(held) = held.min_by_key(|held| held.until) {
        return Nobody::Yet(Held { why: words(), ..held.clone() });
    }
    let short = drops.iter().filter_map(|(_, drop)| match drop {
        Ground::Money(short) => Some(short),
        _ => None,
    });
    if let Some(short) = short.min_by_key(|short| (!short.waits, short.which == Limit::Call)) {
        return Nobody::Money(short.clone(), words());
    }
    if drops.iter().any(|(_, drop)| matches!(drop, Ground::Window(_))) {
        return Nobody::Window(words());
    }
    Nobody::Fits(words())
}

/// SplitMix64.
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Where the lots of a question begin: by its seed, its task and its role.
pub(crate) fn seed_of(ask: &Ask) -> u64 {
    let words = [ask.task.as_str(), ask.role.name()];
    let mut state = ask.seed;
    for byte in words.iter().flat_map(|word| word.bytes()) {
        state ^= u64::from(byte);
        next_random(&mut state);
    }
    state
}
