//! One question to the models, and what it means when there is no answer.

use millrace_events::Code;
use millrace_events::v1::ModelFellBack;
use millrace_router::{Ask, AskError, Earlier, ErrorClass, Fallback, Origin, Role};
use millrace_telemetry::names::{attribute, span};
use serde_json::Value;

use super::super::evidence::Gathered;
use super::super::failures::{Step, Stop, brief};
use super::super::job::Job;
use super::super::prompts::without_secrets;

/// One question.
pub(super) struct Question {
    pub(super) role: Role,
    /// The contract of the answer; the role's own if absent.
    pub(super) contract: Option<String>,
    pub(super) system: String,
    pub(super) prompt: String,
    /// Where the prompt comes from.
    pub(super) origin: Origin,
}

/// The answer satisfies its contract; every call that was made for it is kept.
pub(super) async fn ask(
    job: &Job<'_>,
    question: Question,
    recipe: Option<&str>,
    gathered: &mut Gathered,
) -> Step<Value> {
    without_secrets(&question.system, &question.prompt)?;
    let ask = Ask {
        contract: question.contract,
        recipe: recipe.map(str::to_owned),
        task: job.task.task.clone(),
        repository: job.task.repository.clone(),
        seed: job.execute.token,
        earlier: earlier(gathered),
        origin: question.origin,
        ..Ask::new(question.role, question.system, question.prompt, job.deadline)
    };
    let asked = job.bench.models.ask(&ask, job.cancel).await;
    let calls = asked.as_ref().map_or_else(AskError::calls, |answer| answer.calls.as_slice());
    gathered.calls(job, calls).await?;
    let fallbacks = asked.as_ref().map_or_else(AskError::fallbacks, |answer| answer.fallbacks.as_slice());
    for fallback in fallbacks {
        job.journal.note(fell_back(job, fallback)).await?;
    }
    asked.map(|answer| answer.value).map_err(|error| unanswered(job, &error))
}

fn fell_back(job: &Job<'_>, fallback: &Fallback) -> ModelFellBack {
    ModelFellBack {
        task: Some(job.task.clone()),
        role: fallback.role.name().to_owned(),
        from: fallback.from.clone(),
        to: fallback.to.clone(),
        class: fallback.class.name().to_owned(),
        reason: brief(&fallback.reason, 500),
    }
}

/// Who has answered so far, so that who makes a change does not judge it. S4-ROLE.
fn earlier(gathered: &Gathered) -> Vec<Earlier> {
    let role = |name: &str| {
        [Role::Planner, Role::Implementer, Role::Reviewer].into_iter().find(|role| role.name() == name)
    };
    let answered = gathered.asked.iter().filter(|call| call.verdict == "accepted");
    let mut earlier: Vec<Earlier> = Vec::new();
    for call in answered {
        let Some(role) = role(&call.role) else { continue };
        let one = Earlier { role, provider: call.provider.clone(), model: call.model.clone() };
        if !earlier.contains(&one) {
            earlier.push(one);
        }
    }
    earlier
}

pub(super) fn unanswered(job: &Job<'_>, error: &AskError) -> Stop {
    match error {
        AskError::ContractViolation { contract, attempts, .. } => {
            tracing::info_span!(
                span::PROCESS_VIOLATION,
                { attribute::TASK_ID } = job.task.task.as_str(),
                { attribute::ERROR_TYPE } = Code::ContractViolation.name(),
                millrace.contract = contract.as_str(),
            )
            .in_scope(|| tracing::warn!(contract, attempts, "every answer broke its contract"));
            Stop::failed(Code::ContractViolation, error.to_string())
                .with("contract", contract.as_str())
                .with("answers", attempts.to_string())
        }
        AskError::Model { source, .. } => {
            Stop::caused(code_of(source.class), format!("{error}: {source}"), error)
        }
        AskError::BudgetExceeded { .. } => Stop::failed(Code::BudgetExceeded, error.to_string()),
        AskError::SwitchedOff { .. } => Stop::failed(Code::ModelsSwitchedOff, error.to_string()),
        AskError::Unroutable { .. } => Stop::failed(Code::ModelUnavailable, error.to_string()),
        AskError::DeadlineExceeded { .. } => Stop::failed(Code::ExecutionTimeout, error.to_string()),
        AskError::Cancelled { .. } => Stop::Cancelled,
    }
}

fn code_of(class: ErrorClass) -> Code {
    match class {
        ErrorClass::Connection | ErrorClass::Timeout | ErrorClass::Server | ErrorClass::Garbled => {
            Code::ModelUnavailable
        }
        ErrorClass::RateLimited => Code::ModelRateLimited,
        ErrorClass::DailyQuota | ErrorClass::Billing => Code::ModelQuotaExhausted,
        ErrorClass::Authentication => Code::ModelKeyRejected,
        ErrorClass::InvalidRequest => Code::ModelRequestInvalid,
        ErrorClass::ContextWindow => Code::ModelContextExceeded,
        ErrorClass::ContentPolicy => Code::ModelRefused,
    }
}

/// An answer that satisfies its contract has this shape: a difference is a fault of Millrace.
pub(super) fn understood<T: serde::de::DeserializeOwned>(answer: &Value) -> Step<T> {
    T::deserialize(answer).map_err(|error| {
        Stop::caused(Code::Internal, "an answer that satisfies its contract could not be read", &error)
    })
}
