//! What a worker does in a simulation, by script: it takes time, leaves evidence and a bundle, fails or hangs.
//! The frame around it (claim, lease, limit, end) is the worker's own.

use std::time::Duration;

use async_trait::async_trait;
use millrace_events::v1::{
    Blob, CheckResult, ChecksCompleted, ExecutionCompleted, ModelCallRecord, WorkOrderKind,
};
use millrace_events::{Code, WorkerEvent};
use millrace_runtime::service::ServiceContext;
use millrace_worker::effects::{Gathered, Step, Stop};
use millrace_worker::ports::{Assignment, Work};

use crate::dice::Dice;
use crate::forge::{bundle, commit_id};
use crate::gate::Gate;

/// The scripted work of one life of a worker.
pub struct ScriptedWork {
    context: ServiceContext,
    gate: Gate,
}

impl ScriptedWork {
    /// For the worker with this context.
    pub fn new(context: ServiceContext, gate: Gate) -> Self {
        Self { context, gate }
    }

    async fn keep(&self, name: &str, text: String) -> Blob {
        loop {
            match self.context.blobs.put_named(name, "text/plain", text.as_bytes()).await {
                Ok(blob) => return blob,
                Err(_) => self.context.clock.sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// Until it is done, or told to stop.
    async fn takes(&self, assignment: &Assignment<'_>, time: Duration) -> Step<()> {
        tokio::select! {
            biased;
            () = assignment.cancel.cancelled() => Err(Stop::Cancelled),
            () = self.context.clock.sleep(time) => Ok(()),
        }
    }

    async fn change(&self, assignment: &Assignment<'_>, gathered: &mut Gathered) -> WorkerEvent {
        let order = &assignment.execute.order;
        let task = order.task.clone().unwrap_or_default();
        // The date of a commit is the moment of the claim, so that a repeat makes the same one.
        let claimed = assignment.execute.claimed_at.as_micros();
        let head = commit_id(&format!("{} {} {claimed}", order.id, task.base_commit));
        let branch =
            format!("{}{}/{}.{}", millrace_forge::names::BRANCH_PREFIX, task.task, task.run, task.attempt);
        for (name, text) in [
            ("plan.json", "{\"summary\": \"scripted\"}".to_owned()),
            ("git_diff.patch", format!("+{head}\n")),
            ("modified_files.json", "[\"page.css\"]".to_owned()),
            ("execution_result.json", format!("{{\"outcome\": \"succeeded\", \"head\": \"{head}\"}}")),
        ] {
            gathered.evidence.push(self.keep(name, text).await);
        }
        let bundle = String::from_utf8_lossy(&bundle(&head, &task.base_commit)).into_owned();
        let bundle = self.keep("change.bundle", bundle).await;
        let gathered = std::mem::take(gathered);
        ExecutionCompleted {
            order: order.id.clone(),
            worker: assignment.worker.to_owned(),
            fencing_token: assignment.execute.token,
            head,
            branch,
            bundle: Some(bundle),
            evidence: gathered.evidence,
            calls: gathered.calls,
            title: format!("Change for {}", task.task),
            summary: "scripted".to_owned(),
            rollback_plan: "revert".to_owned(),
            risk_level: "low".to_owned(),
            task: Some(task),
            ..ExecutionCompleted::default()
        }
        .into()
    }

    fn check(&self, assignment: &Assignment<'_>, passed: bool) -> WorkerEvent {
        let order = &assignment.execute.order;
        let pull_request = order.pull_request.clone().unwrap_or_default();
        let result = |check: &millrace_events::v1::CheckDefinition| CheckResult {
            name: check.name.clone(),
            command: check.command.clone(),
            passed,
            exit_code: i32::from(!passed),
            ..CheckResult::default()
        };
        ChecksCompleted {
            task: order.task.clone(),
            order: order.id.clone(),
            worker: assignment.worker.to_owned(),
            fencing_token: assignment.execute.token,
            head: pull_request.head.clone(),
            base: pull_request.base.clone(),
            passed,
            results: order.checks.iter().map(result).collect(),
            evidence: order.evidence.clone(),
            implementer: order.implementer.clone(),
            pull_request: Some(pull_request),
        }
        .into()
    }
}

#[async_trait]
impl Work for ScriptedWork {
    async fn run(&self, assignment: &Assignment<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
        let weather = self.gate.weather();
        let profile = &weather.profile;
        let order = &assignment.execute.order;
        let is_check = order.kind() == WorkOrderKind::Check;
        // What an order's work is like does not hang on who does it, nor on how often.
        let dice = Dice::new(weather.seed, &order.id);
        let (fails, hangs, passes) = (
            dice.chance(profile.work_fails),
            dice.chance(profile.work_hangs),
            !dice.chance(profile.checks_fail),
        );
        let is_stubborn = dice.chance(3_000);
        self.gate.step("before the work").await;
        self.takes(assignment, dice.between(Duration::from_millis(200), Duration::from_secs(25))).await?;
        if !is_check {
            gathered.calls.push(ModelCallRecord {
                role: "implementer".to_owned(),
                provider: "sim".to_owned(),
                model: "script".to_owned(),
                verdict: "accepted".to_owned(),
                ..ModelCallRecord::default()
            });
        }
        if weather.is_faulty() && hangs {
            weather.history.fault(self.gate.name(), "work hung", || order.id.clone());
            if is_stubborn {
                // It does not listen: the frame drops it.
                std::future::pending::<()>().await;
            }
            assignment.cancel.cancelled().await;
            return Err(Stop::Cancelled);
        }
        if weather.is_faulty() && fails {
            weather.history.fault(self.gate.name(), "work failed", || order.id.clone());
            let codes = [Code::CommandFailed, Code::ModelUnavailable, Code::ContractViolation];
            let code = dice.pick(&codes).unwrap_or(Code::CommandFailed);
            return Err(Stop::failed(code, "scripted to fail"));
        }
        let event = if is_check {
            self.check(assignment, passes || !weather.is_faulty())
        } else {
            self.change(assignment, gathered).await
        };
        self.gate.step("after the work").await;
        Ok(event)
    }

    async fn clear(&self, _order: &str) -> std::io::Result<()> {
        self.gate.step("before the clean-up of the work").await;
        Ok(())
    }
}
