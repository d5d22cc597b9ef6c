//! A change that a person wrote down beforehand: the plan, the edits and commands, and the proof that they work.

use std::time::Duration;

use millrace_events::v1::{ExecutionCompleted, Phase};
use millrace_events::{Code, WorkerEvent};
use millrace_router::Role;
use serde_json::json;

use super::super::commands;
use super::super::evidence::{Gathered, millis};
use super::super::failures::{Step, Stop, brief};
use super::super::job::Job;
use super::super::prompts::told;
use super::asking::{Question, ask, understood};
use super::questions::{Compiled, Texts};
use super::{BUILD_LOG_BYTES, Change, Ground, Plan, branch, edit, message, pretty, refuse_trial};
use crate::adapters::{Checkout, Proposal};

pub(super) async fn run(ground: &Ground<'_>, gathered: &mut Gathered) -> Step<WorkerEvent> {
    let Ground { job, recipe, checkout, .. } = ground;
    let mut texts = texts(ground);

    let began = job.now();
    let asked = question(&texts, job, Role::Planner, Phase::Plan).await?;
    let answer = ask(job, asked, recipe.as_deref(), gathered).await?;
    let plan: Plan = understood(&answer)?;
    let kept = gathered.keep(job, "plan.json", &pretty(&answer)).await?;
    gathered.phase(Phase::Plan, vec![kept], &plan.summary, job.now().since(began))?;

    gathered.begin(Phase::Implement)?;
    let began = job.now();
    texts.answer("Plan", &answer);
    let asked = question(&texts, job, Role::Implementer, Phase::Implement).await?;
    let answer = ask(job, asked, recipe.as_deref(), gathered).await?;
    let change: Change = understood(&answer)?;
    edit(checkout.root().to_owned(), change.edits.clone()).await?;
    let implemented = job.now().since(began);

    let began = job.now();
    build(job, checkout, &change.commands, gathered).await?;
    let verified = job.now().since(began);
    refuse_trial(&change)?;
    let change = Proposed { plan, change, implemented, verified };
    propose(job, checkout, change, gathered).await
}

/// What both questions are built from.
fn texts(ground: &Ground<'_>) -> Texts {
    let order = ground.job.order();
    let mut texts = Texts::default();
    texts.document("Task", &order.title).document("Specification", &ground.spec);
    texts.plain("Repository", &ground.files.join("\n"));
    if let Some(failure) = &order.previous_failure {
        texts.plain("The attempt before this one failed", &told(failure));
    }
    texts
}

async fn question(texts: &Texts, job: &Job<'_>, role: Role, phase: Phase) -> Step<Question> {
    let Compiled { system, prompt, origin } = texts.compile(job, role, phase).await?;
    Ok(Question { role, contract: None, system, prompt, origin })
}

struct Proposed {
    plan: Plan,
    change: Change,
    implemented: Duration,
    verified: Duration,
}

/// Runs the commands in order and stops at the first that fails. The log is evidence either way.
async fn build(job: &Job<'_>, checkout: &Checkout, commands: &[String], gathered: &mut Gathered) -> Step<()> {
    let mut log = Vec::new();
    let mut objection = None;
    for command in commands {
        let finished = commands::run(job, command, checkout.root()).await?;
        log.extend_from_slice(format!("$ {command}\n").as_bytes());
        log.extend_from_slice(&finished.output);
        log.extend_from_slice(format!("\n[{:?}]\n", finished.exit).as_bytes());
        log.truncate(BUILD_LOG_BYTES);
        objection = commands::objection(job, command, &finished);
        if objection.is_some() {
            break;
        }
    }
    if commands.is_empty() {
        log.extend_from_slice(b"The change has no commands.\n");
    }
    gathered.keep(job, "build_output.log", &log).await?;
    objection.map_or(Ok(()), Err)
}

/// Commits, bundles, and leaves the evidence.
async fn propose(
    job: &Job<'_>,
    checkout: &Checkout,
    proposed: Proposed,
    gathered: &mut Gathered,
) -> Step<WorkerEvent> {
    let Proposed { plan, change, implemented, verified } = proposed;
    let (task, order) = (job.task, job.order());
    let base = &task.base_commit;
    let branch = branch(task);
    let title = [&change.title, &order.title, &task.task].into_iter().find(|title| !title.trim().is_empty());
    let title = brief(title.unwrap_or(&task.task), 200);
    let summary = if change.summary.is_empty() { plan.summary } else { change.summary };
    let message = message(&title, &summary, &task.task, task.run, task.attempt);
    let proposal = Proposal { base, branch: &branch, message: &message, date: job.execute.claimed_at };
    let committed = checkout.commit(&proposal).await.map_err(|error| job.git(&error, "the commit"))?;
    let Some(head) = committed else {
        let message = "the edits and commands left every file as it was, so there is no change to propose";
        return Err(Stop::failed(Code::EvidenceEmpty, message));
    };
    let patch = checkout.patch(base, &head).await.map_err(|error| job.git(&error, "the patch"))?;
    let changed =
        checkout.changed(base, &head).await.map_err(|error| job.git(&error, "the changed files"))?;
    let bundle = checkout.bundle(base, &branch).await.map_err(|error| job.git(&error, "the bundle"))?;
    let said = format!("{} files changed", changed.len());
    let changed = vec![
        gathered.keep(job, "git_diff.patch", &patch).await?,
        gathered.keep(job, "modified_files.json", &pretty(&json!(changed))).await?,
    ];
    gathered.phase(Phase::Implement, changed, &said, implemented)?;
    let result = json!({
        "outcome": "succeeded", "order": order.id, "base": base, "head": head, "branch": branch,
    });
    let result = gathered.keep(job, "execution_result.json", &pretty(&result)).await?;
    let log = gathered.evidence.iter().find(|blob| blob.name == "build_output.log").cloned();
    let said = format!("{} commands succeeded", change.commands.len());
    gathered.phase(Phase::Verify, log.into_iter().chain([result]).collect(), &said, verified)?;
    let bundle = job.store("change.bundle", &bundle).await?;
    let gathered = std::mem::take(gathered);
    Ok(ExecutionCompleted {
        task: Some(task.clone()),
        order: order.id.clone(),
        worker: job.worker.to_owned(),
        fencing_token: job.execute.token,
        head,
        branch,
        bundle: Some(bundle),
        evidence: gathered.evidence,
        phases: gathered.phases,
        calls: gathered.calls,
        title,
        summary,
        rollback_plan: plan.rollback_plan,
        risk_level: plan.risk_level,
        duration_ms: millis(job.now().since(job.started)),
    }
    .into())
}
