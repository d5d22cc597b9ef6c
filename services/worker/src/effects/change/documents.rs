//! The documents of a phase, made from answers that satisfied their contracts. Pure.

use std::fmt::Write as _;

use millrace_events::v1::Blob;
use serde_json::{Value, json};

use crate::process::evidence::{mean, rubric_scores};

/// `strategy.md`, from a RiskReport.
pub(super) fn strategy(title: &str, risks: &Value) -> String {
    let mut text = Text::new(&format!("Strategy: {title}"));
    text.section("Goal").say(title);
    text.section("Risks").say(&format!("Level: {}", string(risks, "risk_level")));
    for risk in list(risks, "risks") {
        text.item(&risk_line(risk));
    }
    text.section("Reach").say(string(risks, "blast_radius"));
    text.section("Rollback").say(string(risks, "rollback_plan"));
    text.section("Approvals").items(list(risks, "approvals_needed"), "none");
    text.0
}

/// `spec.md`, from a ProblemSpec.
pub(super) fn spec(problem: &Value) -> String {
    let mut text = Text::new(string(problem, "title"));
    text.section("Problem").say(string(problem, "problem"));
    text.section("Goals").items(list(problem, "goals"), "none");
    text.section("Not wanted").items(list(problem, "non_goals"), "nothing named");
    text.section("Acceptance");
    for one in list(problem, "acceptance_criteria") {
        let (id, what, how) = (string(one, "id"), string(one, "text"), string(one, "how_checked"));
        text.item(&format!("{id}: {what} Checked by: {how}"));
    }
    text.section("Constraints").items(list(problem, "constraints"), "none");
    text.section("Open questions").items(list(problem, "open_questions"), "none");
    text.0
}

/// `plan.md`, from the planner's answer and the Plan.
pub(super) fn plan(planner: &Value, plan: &Value) -> String {
    let mut text = Text::new("Plan");
    text.say(string(plan, "summary"));
    text.section("Steps");
    for step in list(plan, "steps") {
        let files: Vec<&str> = list(step, "files").iter().filter_map(Value::as_str).collect();
        let files = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
        let (id, what, check) = (string(step, "id"), string(step, "what"), string(step, "check"));
        text.item(&format!("{id}: {what}{files} Shown by: {check}"));
    }
    text.section("Tests").items(list(plan, "tests"), "none");
    text.section("Risk").say(string(planner, "risk_level"));
    text.section("Rollback").say(string(planner, "rollback_plan"));
    text.0
}

/// `file_map.json`, from the Plan.
pub(super) fn file_map(plan: &Value) -> Value {
    plan.get("file_map").cloned().unwrap_or_default()
}

/// `edge_cases.md`, from a RiskReport about the plan.
pub(super) fn edge_cases(risks: &Value) -> String {
    let mut text = Text::new("Edge cases");
    text.section("Edge cases");
    let found = list(risks, "risks");
    for risk in found {
        text.item(&risk_line(risk));
    }
    if found.is_empty() {
        text.item("None was found that the plan does not cover.");
    }
    text.section("Reach").say(string(risks, "blast_radius"));
    text.0
}

/// `code_quality_score.json`: the mean of the review, the reviewer's judgement of the code, and what was measured.
pub(super) fn quality(review: &Value, tests_passed: f64) -> Value {
    let scores = review.as_object().and_then(|review| rubric_scores(review).ok()).unwrap_or_default();
    let code = review.get("code_quality_score").and_then(Value::as_f64).unwrap_or_default() / 100.0;
    let parts = [("review", mean(&scores)), ("code", code), ("tests", tests_passed)];
    let named: Vec<(String, f64)> = parts.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect();
    json!({ "score": mean(&named), "parts": parts.into_iter().collect::<std::collections::BTreeMap<_, _>>() })
}

/// What a review asks for, for the next round.
pub(super) fn findings(review: &Value) -> String {
    let mut text = Text::new("The review asks for changes");
    text.say(string(review, "summary"));
    for finding in list(review, "findings") {
        let line = finding.get("line").and_then(Value::as_u64).unwrap_or_default();
        let (severity, file) = (string(finding, "severity"), string(finding, "file"));
        text.item(&format!("[{severity}] {file}:{line}: {}", string(finding, "message")));
    }
    for entry in list(review, "rubric") {
        let score = entry.get("score").and_then(Value::as_u64).unwrap_or_default();
        text.item(&format!("{}: {score} of 10. {}", string(entry, "criterion"), string(entry, "reason")));
    }
    text.0
}

/// `pull_request.md`, from a PRSummary and the evidence.
pub(super) fn pull_request(summary: &Value, risk: &str, evidence: &[Blob]) -> String {
    let mut text = Text::new(string(summary, "title"));
    text.section("Summary").say(string(summary, "what")).say(string(summary, "why"));
    text.section("Tested").say(string(summary, "how_tested"));
    text.section("Risks").say(&format!("Level: {risk}"));
    for note in list(summary, "notes_for_reviewers") {
        text.item(note.as_str().unwrap_or_default());
    }
    text.section("Rollback").say(string(summary, "rollback_plan"));
    text.section("Evidence");
    for blob in evidence {
        text.item(&format!("{} `{}`", blob.name, blob.sha256));
    }
    text.0
}

fn risk_line(risk: &Value) -> String {
    let part = |name: &str| string(risk, name);
    format!(
        "{} (likelihood {}, impact {}): {}",
        part("what"),
        part("likelihood"),
        part("impact"),
        part("mitigation")
    )
}

/// A Markdown text whose headings are ours: a line of an answer that would be one is escaped.
struct Text(String);

impl Text {
    fn new(title: &str) -> Self {
        Self(format!("# {}\n", one_line(title)))
    }

    fn section(&mut self, title: &str) -> &mut Self {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.0, "\n## {title}\n\n");
        self
    }

    fn say(&mut self, words: &str) -> &mut Self {
        for line in words.trim().lines() {
            let escape = if line.trim_start().starts_with('#') { "\\" } else { "" };
            let _ = writeln!(self.0, "{escape}{}", line.trim());
        }
        self
    }

    fn item(&mut self, words: &str) {
        let _ = writeln!(self.0, "- {}", one_line(words));
    }

    fn items(&mut self, items: &[Value], none: &str) {
        for item in items.iter().filter_map(Value::as_str) {
            self.item(item);
        }
        if items.is_empty() {
            self.say(none);
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text of an answer.
pub(super) fn string<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A list of an answer.
pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1::Phase;

    use super::*;
    use crate::process::PhaseTable;
    use crate::process::evidence::check;

    fn counts(phase: Phase, name: &str, text: &str) {
        let table = PhaseTable::bundled().unwrap();
        let rule = table.rule(phase).unwrap();
        let artifact = rule.evidence.iter().find(|artifact| artifact.name == name).unwrap();
        assert_eq!(check(artifact, &rule.thresholds, text.as_bytes()), Ok(()), "{text}");
    }

    /// Every document satisfies the rule of its phase, whatever an answer puts into it.
    #[test]
    fn s4_imp_01_documents_made_from_answers_count_as_evidence() {
        let hostile = "# Rollback\n## Evidence\n<!-- nothing -->\nreally";
        let risks = json!({
            "risk_level": "low", "blast_radius": hostile, "rollback_plan": hostile, "approvals_needed": [],
            "risks": [{"what": hostile, "likelihood": "low", "impact": "high", "mitigation": "m"}],
        });
        counts(Phase::Strategize, "strategy.md", &strategy("Say hello", &risks));
        counts(Phase::Think, "edge_cases.md", &edge_cases(&risks));
        counts(Phase::Think, "edge_cases.md", &edge_cases(&json!({"risks": [], "blast_radius": "none"})));
        let problem = json!({
            "title": "t", "problem": hostile, "goals": ["g"], "non_goals": [], "constraints": [],
            "acceptance_criteria": [{"id": "AC-1", "text": "it says hello", "how_checked": "grep"}], "open_questions": [],
        });
        counts(Phase::Spec, "spec.md", &spec(&problem));
        let planner = json!({"risk_level": "low", "rollback_plan": hostile});
        let steps = json!({
            "summary": "s", "tests": [], "steps": [{"id": "S1", "what": "w", "files": ["a"], "check": "c"}],
            "file_map": [{"path": "a", "action": "modify", "why": "w"}],
        });
        counts(Phase::Plan, "plan.md", &plan(&planner, &steps));
        counts(Phase::Plan, "file_map.json", &file_map(&steps).to_string());
        let review = json!({
            "verdict": "approve", "code_quality_score": 80, "findings": [], "summary": "good",
            "rubric": [{"criterion": "correct", "score": 9, "reason": "r"}],
        });
        counts(Phase::Review, "review_rubric.json", &review.to_string());
        counts(Phase::Review, "code_quality_score.json", &quality(&review, 1.0).to_string());
        let summary =
            json!({"title": "t", "what": hostile, "why": "y", "how_tested": "h", "rollback_plan": hostile});
        let evidence = [Blob { name: "plan.md".to_owned(), sha256: "a".repeat(64), ..Blob::default() }];
        let text = pull_request(&summary, "low", &evidence);
        counts(Phase::Pr, "pull_request.md", &text);
        assert_eq!(text.matches("\n## Evidence\n").count(), 1, "{text}");
    }
}
