//! One question from its first call to an answer that satisfies the contract, or to the end of patience.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::answer;
use crate::call::{Called, Ticket};
use crate::contracts::{Contract, ContractError};
use crate::crew::{Crew, RoleConfig};
use crate::provider::{Author, ErrorClass, Finish, Message, ModelError, ModelResponse};
use crate::record::{CallRecord, Fallback, Trail, Verdict};
use crate::router::{Ask, Router};
use crate::select::{Nobody, Pick, Situation, seed_of};
use crate::shared::account::{Account, Limit, Short, balances};
use crate::shared::{SharedError, meter};

/// One question on its way.
pub(crate) struct Conversation<'a> {
    pub(crate) router: &'a Router,
    pub(crate) crew: &'a Crew,
    pub(crate) config: &'a RoleConfig,
    pub(crate) ask: &'a Ask,
    contract: (&'a str, &'a Contract),
    pub(crate) messages: Vec<Message>,
    pub(crate) trail: Trail,
    /// The call that is waiting for its answer; recorded too if it never comes.
    pub(crate) under_way: Option<Ticket>,
    pub(crate) attempts: u32,
    /// Models that failed on this question, and how.
    failed: BTreeMap<String, String>,
    /// The one model that may be asked, once a fallback of its own kind has named it.
    only: Option<String>,
    /// The model that gave the last answer.
    prefer: Option<String>,
    /// The model that failed last, and how: whoever answers next steps in for it.
    stepping_in: Option<(String, ModelError)>,
    pub(crate) lots: u64,
}

/// Why a question has no answer.
pub(crate) enum End {
    Violation(Vec<ContractError>),
    Model(ModelError),
    Money(Short, String),
    Nobody(String),
}

impl From<SharedError> for End {
    fn from(error: SharedError) -> Self {
        Self::Nobody(format!("what all workers share cannot be used: {error}"))
    }
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        router: &'a Router,
        crew: &'a Crew,
        config: &'a RoleConfig,
        ask: &'a Ask,
        contract: (&'a str, &'a Contract),
    ) -> Self {
        Self {
            router,
            crew,
            config,
            ask,
            contract,
            messages: vec![Message { author: Author::User, text: ask.prompt.clone() }],
            trail: Trail::default(),
            under_way: None,
            attempts: 0,
            failed: BTreeMap::new(),
            only: None,
            prefer: None,
            stepping_in: None,
            lots: seed_of(ask),
        }
    }

    pub(crate) fn contract_name(&self) -> &'a str {
        self.contract.0
    }

    pub(crate) fn schema(&self) -> &'a Value {
        self.contract.1.schema()
    }

    /// Whether any model may come to be asked for which the switch counts: the recipe is none.
    pub(crate) fn is_switched(&self) -> bool {
        let reachable = self.crew.reachable(self.ask.role);
        reachable.into_iter().filter_map(|name| self.crew.models.get(name)).any(|model| !model.is_recipe())
    }

    pub(crate) async fn hold(&mut self) -> Result<Value, End> {
        loop {
            let response = self.response().await?;
            self.attempts += 1;
            let errors = match self.judge(&response) {
                Ok(value) => return Ok(value),
                Err(errors) => errors,
            };
            if self.attempts > self.crew.defaults.contract_retries {
                return Err(End::Violation(errors));
            }
            let correction = correction(self.contract_name(), &errors);
            self.messages.push(Message { author: Author::Assistant, text: response.text });
            self.messages.push(Message { author: Author::User, text: correction });
        }
    }

    /// The next answer, from the first model that gives one.
    async fn response(&mut self) -> Result<ModelResponse, End> {
        loop {
            let pick = self.pick().await?;
            let name = pick.name.clone();
            match self.call(pick).await? {
                Called::Answered(response) => {
                    // Whoever broke the contract mends it; the others would start from nothing.
                    self.prefer = Some(name);
                    return Ok(response);
                }
                Called::Lost => {}
                Called::Failed(error) => self.step_aside(name, error)?,
            }
        }
    }

    /// What follows a failure: only failures that pass lead to the next candidate, and two kinds to their own.
    fn step_aside(&mut self, name: String, error: ModelError) -> Result<(), End> {
        let fallbacks = &self.crew.fallbacks;
        let own = match error.class {
            ErrorClass::ContextWindow => Some(&fallbacks.on_context_window),
            ErrorClass::ContentPolicy => Some(&fallbacks.on_content_policy),
            _ => None,
        };
        match own.and_then(|map| map.get(&name)) {
            Some(next) if !self.failed.contains_key(next) => self.only = Some(next.clone()),
            _ if error.next_candidate() && self.only.is_none() => {}
            _ => return Err(End::Model(error)),
        }
        self.failed.insert(name.clone(), error.class.name().to_owned());
        self.stepping_in = Some((name, error));
        Ok(())
    }

    /// The model that is asked next. Waits where waiting helps.
    async fn pick(&mut self) -> Result<Pick, End> {
        let shared = self.router.shared();
        loop {
            match self.choose().await? {
                Ok(pick) => {
                    self.note_fallback(&pick);
                    return Ok(pick);
                }
                Err(Nobody::Yet(held)) => {
                    let wait = std::time::Duration::from_micros(
                        u64::try_from(held.until - shared.now()).unwrap_or(0),
                    );
                    if wait > self.crew.defaults.retry.longest_hint() {
                        return Err(self.nobody(Nobody::Yet(held)));
                    }
                    tokio::time::sleep(wait).await;
                }
                // Others may give back what they have put aside.
                Err(Nobody::Money(short, _)) if short.waits => tokio::time::sleep(FOR_OTHERS).await,
                Err(nobody) => return Err(self.nobody(nobody)),
            }
        }
    }

    fn nobody(&mut self, nobody: Nobody) -> End {
        // Whoever was asked last says more than that nobody is left.
        if let Some((_, error)) = self.stepping_in.take() {
            return End::Model(error);
        }
        match nobody {
            Nobody::Window(words) => End::Model(ModelError::new(ErrorClass::ContextWindow, words)),
            Nobody::Money(short, words) => End::Money(short, words),
            Nobody::Yet(held) => {
                let class = if held.by_rate { ErrorClass::RateLimited } else { ErrorClass::Server };
                End::Model(ModelError::new(class, held.why))
            }
            Nobody::Fits(words) => End::Nobody(words),
        }
    }

    async fn choose(&mut self) -> Result<Result<Pick, Nobody>, SharedError> {
        let shared = self.router.shared();
        let names = self.crew.reachable(self.ask.role);
        let paid: Vec<&str> = names
            .into_iter()
            .filter(|name| self.crew.models.get(*name).is_some_and(|model| !model.is_recipe()))
            .collect();
        let accounts = if paid.is_empty() { Vec::new() } else { self.accounts() };
        let mut meters = BTreeMap::new();
        for name in paid {
            meters.insert(name.to_owned(), meter::read(shared, name).await?);
        }
        let balances = balances(shared, &accounts).await?;
        let situation = Situation {
            crew: self.crew,
            config: self.config,
            ask: self.ask,
            bytes: self.bytes(),
            failed: &self.failed,
            only: self.only.as_deref(),
            prefer: self.prefer.as_deref(),
            accounts: &accounts,
            balances: &balances,
            meters: &meters,
            latencies: &self.router.latencies(),
            now: shared.now(),
            seed: self.lots,
        };
        let chosen = situation.choose();
        // A question that is too long for all candidates goes where the file says.
        if let Err(Nobody::Window(words)) = &chosen
            && self.only.is_none()
            && let Some((from, to)) = self.larger()
        {
            let error = ModelError::new(ErrorClass::ContextWindow, words.clone());
            self.failed.insert(from.clone(), error.class.name().to_owned());
            self.stepping_in = Some((from, error));
            self.only = Some(to);
            return Box::pin(self.choose()).await;
        }
        Ok(chosen)
    }

    /// The first candidate for which the file names a model with a larger window, and that model.
    fn larger(&self) -> Option<(String, String)> {
        let map = &self.crew.fallbacks.on_context_window;
        self.config.candidates.iter().find_map(|name| Some((name.clone(), map.get(name)?.clone())))
    }

    /// What this question counts against, in millionths of a US dollar.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        let micro = crate::crew::micro;
        let budget = &self.crew.defaults.budget;
        let day = crate::crew::day_of(self.router.shared().now());
        let mut accounts = Vec::new();
        if !self.ask.task.is_empty() {
            let is_token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let task: String = self.ask.task.chars().map(|c| if is_token(c) { c } else { '_' }).collect();
            let key = format!("task.{task}");
            if let Some(usd) = self.config.max_usd_per_task {
                let key = format!("{key}.{}", self.ask.role.name());
                accounts.push(Account { which: Limit::Task, key, limit: micro(usd) });
            }
            accounts.push(Account { which: Limit::Task, key, limit: micro(budget.per_task_usd) });
        }
        accounts.push(Account {
            which: Limit::Day,
            key: format!("day.{day}"),
            limit: micro(budget.per_day_usd),
        });
        accounts
    }

    fn bytes(&self) -> usize {
        let said: usize = self.messages.iter().map(|message| message.text.len()).sum();
        said + self.ask.system.len() + self.schema().to_string().len()
    }

    fn note_fallback(&mut self, pick: &Pick) {
        let Some((from, error)) = self.stepping_in.take() else { return };
        self.trail.fallbacks.push(Fallback {
            role: self.ask.role,
            from,
            to: pick.name.clone(),
            class: error.class,
            reason: error.to_string(),
        });
    }

    /// Parses and checks an answer, and writes the verdict into its record.
    fn judge(&mut self, response: &ModelResponse) -> Result<Value, Vec<ContractError>> {
        let parsed = match response.finish {
            Finish::Complete => answer::parse(&response.text),
            Finish::CutOff => Err(format!(
                "the answer was cut off at the limit of its length ({}): answer in fewer words, and whole",
                if response.finish_word.is_empty() { "no reason given" } else { &response.finish_word }
            )),
        };
        let parsed = parsed.map_err(|message| vec![ContractError::at_root(message)]);
        let repairs = parsed.as_ref().map(|parsed| parsed.repairs.clone()).unwrap_or_default();
        let checked = parsed.and_then(|parsed| {
            self.contract.1.validate(&parsed.value)?;
            Ok(parsed.value)
        });
        if let Some(record) = self.trail.calls.last_mut() {
            record.repaired = !repairs.is_empty();
            record.repairs = repairs;
            match &checked {
                Ok(_) => record.verdict = Verdict::Accepted,
                Err(errors) => {
                    record.verdict = Verdict::ContractViolated;
                    record.contract_errors.clone_from(errors);
                }
            }
        }
        checked
    }

    pub(crate) fn record(&mut self, record: CallRecord) {
        self.trail.calls.push(record);
    }
}

/// How often it is looked whether others have given back money that they had put aside.
const FOR_OTHERS: std::time::Duration = std::time::Duration::from_millis(500);

fn correction(contract: &str, errors: &[ContractError]) -> String {
    let mut text = format!("Your answer does not satisfy the `{contract}` contract:\n");
    for error in errors {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {error}");
    }
    text.push_str("Answer again with the whole corrected JSON object and nothing else.");
    text
}
