//! One question from its first call to an answer that satisfies the contract, or to the end of patience.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::answer;
use crate::contracts::{Contract, ContractError};
use crate::crew::{Defaults, Model};
use crate::provider::{Author, ErrorClass, Message, ModelError, ModelRequest, Provider};
use crate::record::{CallRecord, Verdict};
use crate::router::Ask;

/// One question on its way.
pub(crate) struct Conversation<'a> {
    ask: &'a Ask,
    contract: &'a Contract,
    candidates: Vec<(&'a Model, &'a dyn Provider)>,
    retries: u32,
    request_timeout: Duration,
    messages: Vec<Message>,
    pub(crate) calls: Vec<CallRecord>,
    /// The call that is waiting for its answer; recorded too if it never comes.
    under_way: Option<(CallRecord, Instant)>,
    pub(crate) attempts: u32,
}

pub(crate) enum End {
    Violation(Vec<ContractError>),
    Model(ModelError),
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        ask: &'a Ask,
        contract: &'a Contract,
        candidates: Vec<(&'a Model, &'a dyn Provider)>,
        defaults: &Defaults,
    ) -> Self {
        Self {
            ask,
            contract,
            candidates,
            retries: defaults.contract_retries,
            request_timeout: defaults.request_timeout(),
            messages: vec![Message { author: Author::User, text: ask.prompt.clone() }],
            calls: Vec::new(),
            under_way: None,
            attempts: 0,
        }
    }

    pub(crate) async fn hold(&mut self) -> Result<Value, End> {
        let mut first = 0;
        loop {
            let (candidate, text) = self.answer_from(first).await?;
            // Whoever broke the contract mends it; the others would start from nothing.
            first = candidate;
            self.attempts += 1;
            let errors = match self.judge(&text) {
                Ok(value) => return Ok(value),
                Err(errors) => errors,
            };
            if self.attempts > self.retries {
                return Err(End::Violation(errors));
            }
            self.messages.push(Message { author: Author::Assistant, text });
            self.messages
                .push(Message { author: Author::User, text: correction(self.ask.role.contract(), &errors) });
        }
    }

    /// The next answer, from the first candidate at or after `first` that gives one.
    async fn answer_from(&mut self, first: usize) -> Result<(usize, String), End> {
        let mut last = ModelError::new(ErrorClass::Connection, "the role has no candidate");
        for (number, (model, provider)) in self.candidates.clone().into_iter().enumerate().skip(first) {
            match self.call(model, provider).await {
                Ok(text) => return Ok((number, text)),
                Err(error) if error.next_candidate() => last = error,
                Err(error) => return Err(End::Model(error)),
            }
        }
        Err(End::Model(last))
    }

    async fn call(&mut self, model: &Model, provider: &dyn Provider) -> Result<String, ModelError> {
        let started = Instant::now();
        let request = ModelRequest {
            role: self.ask.role,
            model,
            system: self.ask.system.clone(),
            prompt: self.messages.clone(),
            contract: self.ask.role.contract(),
            schema: self.contract.schema(),
            recipe: self.ask.recipe.clone(),
            deadline: self.ask.deadline.min(started + self.request_timeout),
        };
        self.under_way = Some((CallRecord::opened(&request, provider.name()), started));
        let response = match timeout_at(request.deadline, provider.complete(&request)).await {
            Ok(response) => response,
            Err(_) => Err(ModelError::new(
                ErrorClass::Timeout,
                format!("no answer within {} ms", self.request_timeout.as_millis()),
            )),
        };
        if let Some((mut record, started)) = self.under_way.take() {
            record.duration = started.elapsed();
            match &response {
                Ok(response) => record.fill(response, model),
                Err(error) => record.error = Some(error.clone()),
            }
            self.calls.push(record);
        }
        response.map(|response| response.text)
    }

    /// Parses and checks an answer, and writes the verdict into its record.
    fn judge(&mut self, text: &str) -> Result<Value, Vec<ContractError>> {
        let parsed = answer::parse(text).map_err(|message| vec![ContractError::at_root(message)]);
        let repaired = parsed.as_ref().is_ok_and(|parsed| parsed.repaired);
        let checked = parsed.and_then(|parsed| {
            self.contract.validate(&parsed.value)?;
            Ok(parsed.value)
        });
        if let Some(record) = self.calls.last_mut() {
            record.repaired = repaired;
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

    pub(crate) fn record_unanswered(&mut self, why: &str) {
        if let Some((mut record, started)) = self.under_way.take() {
            record.duration = started.elapsed();
            record.error = Some(ModelError::new(ErrorClass::Timeout, why));
            self.calls.push(record);
        }
    }
}

fn correction(contract: &str, errors: &[ContractError]) -> String {
    let mut text = format!("Your answer does not satisfy the `{contract}` contract:\n");
    for error in errors {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {error}");
    }
    text.push_str("Answer again with the whole corrected JSON object and nothing else.");
    text
}
