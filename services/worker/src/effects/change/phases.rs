//! What is done in each phase. Whether it counts is not decided here.

use std::collections::BTreeMap;

use millrace_events::Code;
use millrace_events::v1::Phase;
use millrace_profile::{Citation, ground};
use millrace_prompts::Anchor;
use millrace_router::Role;
use serde_json::{Value, json};

use super::super::evidence::Gathered;
use super::super::failures::{Step, Stop, brief};
use super::super::onboarding::rehearse;
use super::agent::{self, Assignment};
use super::asking::{Question, ask, understood};
use super::by_models::{Attempt, Made};
use super::documents::{self, list, string};
use super::questions::Texts;
use super::toolbox::Declared;
use super::verify::{Proof, Test, clean_copy};
use super::{Change, Plan, branch, edit, message, pretty, refuse_trial};
use crate::adapters::Proposal;
use crate::process::tools::{Persona, bounded};
use crate::process::{Mode, name};

/// How often a plan may cite what does not exist, and edits may not fit the files.
const MOST_TRIES: u32 = 3;
const MOST_ANCHORS: usize = 20;
/// Characters of all files together that an implementer is shown.
const FILES_CHARS: usize = 120_000;
const PATCH_CHARS: usize = 60_000;

/// What a phase has left, and what follows if it does not count.
#[derive(Default)]
pub(super) struct Left {
    pub(super) artifacts: Vec<(String, Vec<u8>)>,
    pub(super) summary: String,
    /// The phases that are to be done again.
    pub(super) affected: Vec<Phase>,
    /// What they are told.
    pub(super) objection: String,
    /// The code when there is no step back left.
    pub(super) code: Option<Code>,
}

/// Works a phase through.
pub(super) async fn work(attempt: &mut Attempt<'_>, phase: Phase, gathered: &mut Gathered) -> Step<Left> {
    match phase {
        Phase::Plan => plan(attempt, gathered).await,
        Phase::Implement => implement(attempt, gathered).await,
        Phase::Verify => verify(attempt).await,
        Phase::Review => review(attempt, gathered).await,
        Phase::Pr => propose(attempt, gathered).await,
        Phase::Strategize | Phase::Spec | Phase::Think => think(attempt, phase, gathered).await,
        Phase::Monitor | Phase::Unspecified => {
            Err(Stop::failed(Code::StateMismatch, format!("{} is not a worker's phase", name(phase))))
        }
    }
}

/// STRATEGIZE, SPEC and THINK: one answer, one document.
async fn think(attempt: &mut Attempt<'_>, phase: Phase, gathered: &mut Gathered) -> Step<Left> {
    let (answers, _) = answers(attempt, phase, &context(attempt, phase), gathered).await?;
    let answer = answers.last().cloned().unwrap_or_default();
    let title = &attempt.ground.job.order().title;
    let (document, text) = match phase {
        Phase::Strategize => ("strategy.md", documents::strategy(title, &answer)),
        Phase::Spec => ("spec.md", documents::spec(&answer)),
        _ => ("edge_cases.md", documents::edge_cases(&answer)),
    };
    let mut left = Left { summary: format!("{document} is written"), ..Left::default() };
    left.artifacts.push((document.to_owned(), text.into_bytes()));
    left.artifacts.extend(kept_answer(phase).map(|(file, _)| (file.to_owned(), pretty(&answer))));
    Ok(left)
}

/// PLAN: what it cites must exist. S4-EX3.
async fn plan(attempt: &mut Attempt<'_>, gathered: &mut Gathered) -> Step<Left> {
    let mut texts = context(attempt, Phase::Plan);
    for number in 1..=MOST_TRIES {
        let (answers, _) = answers(attempt, Phase::Plan, &texts, gathered).await?;
        let planner = answers.first().cloned().unwrap_or_default();
        let steps = answers.last().cloned().unwrap_or_default();
        let cited = citations(&planner).into_iter().chain(citations(&steps)).collect::<Vec<_>>();
        let Err(invented) = ground(&cited, &attempt.onboarded.index) else {
            let parsed: Plan = understood(&planner)?;
            let text = documents::plan(&planner, &steps);
            let file_map = pretty(&documents::file_map(&steps));
            return Ok(Left {
                artifacts: vec![
                    ("plan.json".to_owned(), pretty(&planner)),
                    ("plan_steps.json".to_owned(), pretty(&steps)),
                    ("plan.md".to_owned(), text.into_bytes()),
                    ("file_map.json".to_owned(), file_map),
                ],
                summary: parsed.summary,
                ..Left::default()
            });
        };
        let told: Vec<String> = invented.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        if number == MOST_TRIES {
            return Err(Stop::failed(Code::PlanUngrounded, brief(&told, 1_500)).with("phase", "PLAN"));
        }
        texts.plain("The plan before this one cites what does not exist", &told);
    }
    Err(Stop::failed(Code::Internal, "a plan was neither taken nor refused"))
}

/// What a plan says exists, and what it makes.
fn citations(answer: &Value) -> Vec<Citation> {
    let cited = list(answer, "cites").iter().map(|cite| {
        let symbol = cite.get("symbol").and_then(Value::as_str).map(str::to_owned);
        Citation { path: Some(string(cite, "file").to_owned()), symbol, is_new: false }
    });
    let touched = list(answer, "file_map").iter().map(|file| {
        let is_new = string(file, "action") == "create";
        Citation { path: Some(string(file, "path").to_owned()), symbol: None, is_new }
    });
    cited.chain(touched).collect()
}

/// IMPLEMENT: edits and commands, then a commit that nothing is added to any more.
async fn implement(attempt: &mut Attempt<'_>, gathered: &mut Gathered) -> Step<Left> {
    let job = attempt.ground.job;
    let (change, declared) = edited(attempt, gathered).await?;
    let mut proof = Proof::default();
    for command in &change.commands {
        let test = Test { name: "the change's own command", command };
        if !proof.run(job, &attempt.ground.checkout, test).await? {
            break;
        }
    }
    refuse_trial(&change)?;
    let title = declared.as_ref().map_or(change.title.as_str(), |declared| declared.title.as_str());
    let title =
        [title, &job.order().title, &job.task.task].into_iter().find(|title| !title.trim().is_empty());
    let title = brief(title.unwrap_or(&job.task.task), 200);
    let summary = match &declared {
        Some(declared) if !declared.text.is_empty() => declared.text.clone(),
        _ => change.summary.clone(),
    };
    let (task, checkout) = (job.task, &attempt.ground.checkout);
    let text = message(&title, &summary, &task.task, task.run, task.attempt);
    let (base, branch) = (&task.base_commit, branch(task));
    let proposal = Proposal { base, branch: &branch, message: &text, date: job.execute.claimed_at };
    let committed = checkout.commit(&proposal).await.map_err(|error| job.git(&error, "the commit"))?;
    let Some(head) = committed else {
        let message = "the edits and commands left every file as it was, so there is no change to propose";
        return Err(Stop::failed(Code::EvidenceEmpty, message).with("phase", "IMPLEMENT"));
    };
    let patch = checkout.patch(base, &head).await.map_err(|error| job.git(&error, "the patch"))?;
    let changed =
        checkout.changed(base, &head).await.map_err(|error| job.git(&error, "the changed files"))?;
    let said = format!("{} files changed", changed.len());
    attempt.proof = proof;
    attempt.made = Some(Made { head, patch: patch.clone(), title, summary });
    Ok(Left {
        artifacts: vec![
            ("git_diff.patch".to_owned(), patch),
            ("modified_files.json".to_owned(), pretty(&json!(changed))),
        ],
        summary: said,
        ..Left::default()
    })
}

/// The implementer's answer, applied. Edits that do not fit are told and asked for again.
async fn edited(attempt: &mut Attempt<'_>, gathered: &mut Gathered) -> Step<(Change, Option<Declared>)> {
    let mut texts = context(attempt, Phase::Implement);
    texts.plain("Files", &shown_files(attempt));
    for _ in 1..MOST_TRIES {
        let (change, declared, applied) = one_edit(attempt, &texts, gathered).await?;
        match applied {
            Ok(()) => return Ok((change, declared)),
            Err(Stop::Failed(failure)) if failure.known_code() == Some(Code::ContractViolation) => {
                let told = format!("{}\nEdits before it are applied already.", failure.message);
                texts.plain("An edit of your last answer does not fit", &told);
            }
            Err(stop) => return Err(stop),
        }
    }
    let (change, declared, applied) = one_edit(attempt, &texts, gathered).await?;
    applied.map(|()| (change, declared))
}

async fn one_edit(
    attempt: &mut Attempt<'_>,
    texts: &Texts,
    gathered: &mut Gathered,
) -> Step<(Change, Option<Declared>, Step<()>)> {
    let (answers, declared) = answers(attempt, Phase::Implement, texts, gathered).await?;
    let change: Change = understood(&answers.last().cloned().unwrap_or_default())?;
    rehearse(attempt.ground.job, &attempt.onboarded, &change.edits, &change.commands, gathered).await?;
    let applied = edit(attempt.ground.checkout.root().to_owned(), change.edits.clone()).await;
    Ok((change, declared, applied))
}

/// The texts of the files that the plan touches, as they are now.
fn shown_files(attempt: &Attempt<'_>) -> String {
    let steps = attempt.answers.get(&(Phase::Plan, "plan".to_owned())).cloned().unwrap_or_default();
    let files = crate::process::tools::Files::new(attempt.ground.checkout.root().to_owned());
    let mut told = String::new();
    for file in list(&steps, "file_map") {
        let path = string(file, "path");
        if let Ok(text) = files.call("read", &json!({ "path": path })) {
            told.push_str(&format!("--- {path}\n{text}\n"));
        }
    }
    bounded(&told, FILES_CHARS)
}

/// VERIFY: the change's own commands have run; the repository's gates run on a clean copy of the commit.
async fn verify(attempt: &mut Attempt<'_>) -> Step<Left> {
    let Some(head) = attempt.made.as_ref().map(|made| made.head.clone()) else {
        return Err(Stop::failed(Code::EvidenceMissing, "VERIFY: there is no commit to verify"));
    };
    let job = attempt.ground.job;
    if attempt.proof.objection().is_none() {
        let round = attempt.enforcer.iteration(Phase::Verify);
        let copy = clean_copy(attempt.ground, &branch(job.task), &head, round).await?;
        for gate in attempt.onboarded.profile.commands().gates {
            let test = Test { name: &gate.name, command: &gate.command };
            attempt.proof.run(job, &copy, test).await?;
        }
    }
    let proof = &attempt.proof;
    let coverage =
        json!({ "measured": false, "reason": "the coverage of a change is not measured by this worker" });
    Ok(Left {
        artifacts: vec![
            ("test_results.json".to_owned(), pretty(&proof.results())),
            ("build_output.log".to_owned(), proof.log()),
            ("coverage_report.json".to_owned(), pretty(&coverage)),
        ],
        summary: "every command succeeded".to_owned(),
        affected: vec![Phase::Implement],
        objection: proof.objection().unwrap_or_default().to_owned(),
        code: proof.objection().map(|_| Code::CommandFailed),
    })
}

/// REVIEW: by a role that did not make the change. S4-ROLE.
async fn review(attempt: &mut Attempt<'_>, gathered: &mut Gathered) -> Step<Left> {
    let mut texts = context(attempt, Phase::Review);
    if let Some(made) = &attempt.made {
        texts.plain("Change", &bounded(&String::from_utf8_lossy(&made.patch), PATCH_CHARS));
    }
    texts.plain("Results", &attempt.proof.told());
    let (answers, _) = answers(attempt, Phase::Review, &texts, gathered).await?;
    let review = answers.last().cloned().unwrap_or_default();
    let is_rejected = string(&review, "verdict") == "reject";
    Ok(Left {
        artifacts: vec![
            ("review_rubric.json".to_owned(), pretty(&review)),
            (
                "code_quality_score.json".to_owned(),
                pretty(&documents::quality(&review, attempt.proof.passed())),
            ),
        ],
        summary: string(&review, "summary").to_owned(),
        affected: vec![if is_rejected { Phase::Plan } else { Phase::Implement }],
        objection: documents::findings(&review),
        code: Some(Code::ReviewRejected),
    })
}

/// PR: the text under which the change is proposed.
async fn propose(attempt: &mut Attempt<'_>, gathered: &mut Gathered) -> Step<Left> {
    let mut texts = context(attempt, Phase::Pr);
    if let Some(made) = &attempt.made {
        texts.plain("Change", &bounded(&String::from_utf8_lossy(&made.patch), PATCH_CHARS));
    }
    texts.plain("Results", &attempt.proof.told());
    let (answers, declared) = answers(attempt, Phase::Pr, &texts, gathered).await?;
    let summary = answers.last().cloned().unwrap_or_default();
    let risk = risk(attempt.answers.values());
    let text = documents::pull_request(&summary, risk, &gathered.evidence);
    if let Some(made) = &mut attempt.made {
        made.title =
            declared.map_or_else(|| brief(string(&summary, "title"), 200), |declared| declared.title);
        made.summary = string(&summary, "what").to_owned();
    }
    let artifacts = vec![("pull_request.md".to_owned(), text.into_bytes())];
    Ok(Left { artifacts, summary: "pull_request.md is written".to_owned(), ..Left::default() })
}

/// What every question of a phase is built from: the spec, what the phases before it came to, the files.
fn context(attempt: &Attempt<'_>, phase: Phase) -> Texts {
    let mut texts = Texts::default();
    let order = attempt.ground.job.order();
    texts.document("Task", &order.title).document("Specification", &attempt.ground.spec);
    for ((of, contract), answer) in &attempt.answers {
        if (*of as i32) < phase as i32 {
            texts.answer(&format!("{} {contract}", name(*of)), answer);
        }
    }
    texts.plain("Repository", &attempt.ground.files.join("\n"));
    if let Some(failure) = &order.previous_failure {
        texts.plain("The attempt before this one failed", &super::super::prompts::told(failure));
    }
    texts.plain("Why this is done again", &attempt.objection);
    texts.anchors = attempt
        .onboarded
        .index
        .anchors(&attempt.ground.spec, MOST_ANCHORS)
        .into_iter()
        .map(|found| Anchor {
            file: found.file,
            symbol: found.symbols.into_iter().next().map(|best| best.name),
        })
        .collect();
    texts
}

/// Asks for all that a phase's contracts want, one after the other; the last one with tools if the table says so.
async fn answers(
    attempt: &mut Attempt<'_>,
    phase: Phase,
    texts: &Texts,
    gathered: &mut Gathered,
) -> Step<(Vec<Value>, Option<Declared>)> {
    let rule = attempt.enforcer.rule(phase).cloned();
    let Some((rule, role)) = rule.and_then(|rule| rule.role.map(|role| (rule, role))) else {
        return Err(Stop::failed(Code::Internal, format!("nobody works in {}", name(phase))));
    };
    let job = attempt.ground.job;
    let question = texts.compile(job, role, phase).await?;
    let (mut given, mut declared) = (Vec::new(), None);
    for (number, contract) in rule.contracts.iter().enumerate() {
        let is_last = number + 1 == rule.contracts.len();
        let answer = if is_last && rule.mode == Mode::Agent {
            let assignment = Assignment {
                table: attempt.enforcer.table(),
                phase,
                role,
                persona: persona(attempt, role),
                contract,
                question: &question,
            };
            let (answer, said) = agent::work(attempt.ground, assignment, gathered).await?;
            declared = said;
            answer
        } else {
            let asked = Question {
                role,
                contract: Some(contract.clone()),
                system: question.system.clone(),
                prompt: format!("{}{}", question.prompt, so_far(&rule.contracts, &given)),
                origin: question.origin.clone(),
            };
            ask(job, asked, attempt.ground.recipe.as_deref(), gathered).await?
        };
        attempt.answers.insert((phase, contract.clone()), answer.clone());
        given.push(answer);
    }
    Ok((given, declared))
}

/// What was answered in this phase already.
fn so_far(contracts: &[String], given: &[Value]) -> String {
    let parts = contracts.iter().zip(given).map(|(contract, answer)| {
        let text = format!("{answer:#}");
        let format = millrace_policy::hidden_text::Format::Plain;
        format!("\n# {contract}\n\n{}", millrace_prompts::block(contract, &text, format).0)
    });
    parts.collect()
}

/// The persona's own list takes away from what its role has. S4-IMP-25.
fn persona(attempt: &Attempt<'_>, role: Role) -> Persona {
    let only =
        attempt.ground.job.bench.prompts.library().persona(role.name()).map(|persona| persona.tools.clone());
    Persona { role: role.name().to_owned(), only }
}

/// Where the answer of a phase is kept whole, and by which contract.
fn kept_answer(phase: Phase) -> Option<(&'static str, &'static str)> {
    match phase {
        Phase::Strategize => Some(("strategy.json", "risk_report")),
        Phase::Spec => Some(("spec.json", "problem_spec")),
        Phase::Think => Some(("edge_cases.json", "risk_report")),
        _ => None,
    }
}

/// The contract of an answer that is kept under a name; `None`: it is none.
pub(super) fn contract_of(phase: Phase, file: &str) -> Option<&'static str> {
    match (phase, file) {
        (Phase::Plan, "plan.json") => Some("planner"),
        (Phase::Plan, "plan_steps.json") => Some("plan"),
        _ => kept_answer(phase).filter(|(name, _)| *name == file).map(|(_, contract)| contract),
    }
}

/// The planner's answer.
pub(super) fn planner(answers: &BTreeMap<(Phase, String), Value>) -> Value {
    answers.get(&(Phase::Plan, "planner".to_owned())).cloned().unwrap_or_default()
}

const LEVELS: [&str; 4] = ["low", "medium", "high", "critical"];

/// The highest risk that any answer names.
pub(super) fn risk<'a>(answers: impl Iterator<Item = &'a Value>) -> &'static str {
    let level = |answer: &Value| LEVELS.iter().position(|level| *level == string(answer, "risk_level"));
    let highest = answers.filter_map(level).max().unwrap_or_default();
    LEVELS.get(highest).copied().unwrap_or("low")
}

/// Why a person must approve, if so. An empty list asks for nobody.
pub(super) fn needs_approval<'a>(
    levels: &[String],
    answers: impl Iterator<Item = &'a Value> + Clone,
) -> Option<String> {
    if levels.is_empty() {
        return None;
    }
    let mut asked: Vec<&str> = answers
        .clone()
        .flat_map(|answer| list(answer, "approvals_needed"))
        .filter_map(Value::as_str)
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let risk = risk(answers);
    let is_risky = levels.iter().any(|level| level == risk);
    let asked = brief(&asked.join(", "), 500);
    match (is_risky, asked.is_empty()) {
        (false, true) => None,
        (true, true) => Some(format!("the risk is {risk}")),
        (false, false) => Some(format!("approval is asked for: {asked}")),
        (true, false) => Some(format!("the risk is {risk}, and approval is asked for: {asked}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn s4_ci10_a_person_is_asked_for_by_the_highest_risk_or_by_name() {
        let levels = ["high".to_owned(), "critical".to_owned()];
        let low = json!({"risk_level": "low", "approvals_needed": []});
        let high = json!({"risk_level": "high"});
        let asks = json!({"risk_level": "low", "approvals_needed": ["dba", "security"]});
        let needed = |levels: &[String], answers: &[&Value]| needs_approval(levels, answers.iter().copied());
        assert_eq!(needed(&levels, &[&low]), None);
        assert_eq!(needed(&levels, &[&low, &high, &low]).unwrap(), "the risk is high");
        assert_eq!(needed(&levels, &[&asks, &asks]).unwrap(), "approval is asked for: dba, security");
        assert_eq!(needed(&[], &[&high, &asks]), None, "switched off");
        assert_eq!(needed(&["critical".to_owned()], &[&high]), None);
    }

    #[test]
    fn what_a_plan_makes_need_not_exist() {
        let plan = json!({
            "cites": [{"file": "a.rs", "symbol": "b"}],
            "file_map": [{"path": "new.rs", "action": "create"}, {"path": "a.rs", "action": "modify"}],
        });
        let cited = citations(&plan);
        let new: Vec<bool> = cited.iter().map(|citation| citation.is_new).collect();
        assert_eq!(new, [false, true, false]);
        assert_eq!(cited[0], Citation::symbol_in("a.rs", "b"));
    }
}
