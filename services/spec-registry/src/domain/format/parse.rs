//! Puts a specification together from its parts and collects every fault on the way.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

use super::decode::{decode, without_bom};
use super::front_matter::{self, FrontMatter};
use super::headings::Part;
use super::identity::Claims;
use super::metadata::{self, Pair, canonical_key};
use super::outline::{BlockKind, Lines, Outline};
use super::sections::{self, Section};
use super::task_id;
use super::{
    AcceptanceItem, ParseSettings, PlanBlock, Priority, Problem, ProblemCode, Readiness, Severity, Spec,
    acceptance, placeholders, priority,
};

/// The fewest characters of a summary.
const MIN_SUMMARY_CHARS: usize = 10;
/// The most faults that are listed.
const MAX_PROBLEMS: usize = 100;
/// The info string of an embedded plan.
const PLAN_INFO: &str = "millrace";

/// Reads a specification.
///
/// `file_name` may carry folders; its last part can hold the task id. The bytes are looked at once: a file
/// over [`super::MAX_SPEC_BYTES`] is refused by its length.
///
/// # Errors
/// Every fault of the file together, warnings included, if at least one of them is an error.
pub fn parse(file_name: &str, bytes: &[u8], settings: &ParseSettings) -> Result<Spec, Vec<Problem>> {
    let text = decode(bytes)?;
    let mut reader = Reader::new(text, settings);
    let task_id = reader.task_id(file_name);
    let title = reader.title(file_name);
    let summary = reader.summary();
    let problem_statement = reader.problem_statement();
    let acceptance = reader.acceptance();
    let plan = reader.plan();
    let technical_approach = reader.optional(Part::TechnicalApproach);
    let test_plan = reader.optional(Part::TestPlan);
    let dependencies = reader.listed(Part::Dependencies, "dependencies");
    let mut open_questions = reader.listed(Part::OpenQuestions, "open_questions");
    reader.check_leftovers();

    let clarifications = placeholders::clarifications(text, &reader.outline);
    let metadata = reader.metadata();
    let readiness = readiness(!clarifications.is_empty(), &metadata, &acceptance);
    open_questions.extend(clarifications);
    let priority = reader.priority();
    let warnings = reader.verdict()?;
    Ok(Spec {
        task_id,
        title,
        summary,
        problem_statement,
        acceptance,
        technical_approach,
        test_plan,
        dependencies,
        open_questions,
        readiness,
        domain: metadata.get("domain").cloned(),
        priority,
        plan,
        format: reader.format(&metadata).to_owned(),
        metadata,
        relaxed: reader.relaxed,
        warnings,
        checksum: hex::encode(Sha256::digest(bytes)),
    })
}

/// The task that a file claims, whatever else is wrong with it: the first id that it names, the file name's
/// before all others.
#[must_use]
pub fn claimed_task_id(file_name: &str, bytes: &[u8], settings: &ParseSettings) -> Option<String> {
    match decode(bytes) {
        Ok(text) => Reader::new(text, settings).task_id(file_name),
        Err(_) => task_id::task_id_in_file_name(file_name, settings),
    }
}

/// The text with its structure, and what has been found out about it so far.
struct Reader<'a> {
    text: &'a str,
    settings: &'a ParseSettings,
    lines: Lines,
    front: FrontMatter,
    outline: Outline,
    sections: Vec<Section>,
    pairs: Vec<Pair>,
    problems: Vec<Problem>,
    relaxed: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, settings: &'a ParseSettings) -> Self {
        let mut problems = Vec::new();
        let start = text.len() - without_bom(text).len();
        let front = front_matter::read(text, start, &mut problems);
        let lines = Lines::of(text);
        let mut outline = Outline::read(text, front.end);
        if front.end > start {
            // The front matter is read as YAML only.
            outline.code.insert(0, start..front.end);
        }
        let sections = sections::find(text, &outline, &lines);
        let pairs = metadata::pairs(text, &outline, &lines, &sections);
        Self { text, settings, lines, front, outline, sections, pairs, problems, relaxed: Vec::new() }
    }

    fn task_id(&mut self, file_name: &str) -> Option<String> {
        let mut claims = Claims::new(file_name, self.settings);
        for entry in &self.front.entries {
            if let Some(value) = entry.values.first() {
                claims.key(&canonical_key(&entry.key), value, entry.line, true);
            }
        }
        for pair in &self.pairs {
            claims.key(&pair.key, &pair.value, pair.line, pair.in_head);
        }
        if let Some((title, line)) = self.title_heading() {
            claims.title(title, line);
        }
        claims.settle(&mut self.problems)
    }

    /// The first top-level heading that is not a key line, with its line.
    fn title_heading(&self) -> Option<(&str, u32)> {
        let heading = self.outline.headings.iter().find(|heading| {
            heading.level == 1
                && metadata::key_line(&heading.text).is_none_or(|key| key.bold)
                && !heading.text.trim().is_empty()
        })?;
        Some((heading.text.trim(), self.lines.number(heading.range.start)))
    }

    fn title(&self, file_name: &str) -> String {
        let heading = self
            .title_heading()
            .map(|(text, _)| task_id::split_title(text, self.settings).map_or(text, |(_, rest)| rest));
        let base = file_name.rsplit('/').next().unwrap_or(file_name);
        self.front_value("title")
            .or(heading)
            .unwrap_or_else(|| base.strip_suffix(".md").unwrap_or(base))
            .to_owned()
    }

    fn summary(&mut self) -> String {
        let (line, summary) = match self.best(Part::Summary) {
            Some((line, text)) => (line, text),
            None => match self.front_entry("summary").or(self.front_entry("description")) {
                Some((line, text)) => (line, text.to_owned()),
                None => match self.lead_paragraph() {
                    Some(lead) => {
                        self.relaxed.push("the paragraph under the title is the summary".to_owned());
                        lead
                    }
                    None => (self.top(), String::new()),
                },
            },
        };
        let advice = "say under `## Summary` in a sentence or two what is asked for";
        let length = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        let length = length.chars().count();
        if length == 0 {
            let message = "there is no summary";
            self.error(ProblemCode::SummaryMissing, line, message, advice);
        } else if length < MIN_SUMMARY_CHARS {
            let message =
                format!("the summary has {length} characters, at least {MIN_SUMMARY_CHARS} are needed");
            self.error(ProblemCode::SummaryTooShort, line, message, advice);
        }
        summary
    }

    fn problem_statement(&mut self) -> String {
        if let Some((_, text)) = self.best(Part::ProblemStatement).filter(|(_, text)| !text.is_empty()) {
            return text;
        }
        let line = self.best(Part::ProblemStatement).map(|(line, _)| line);
        let problem = Problem::error(
            ProblemCode::ProblemStatementMissing,
            Some(line.unwrap_or_else(|| self.top())),
            "there is no problem statement",
            "say under `## Problem` what is wrong today and for whom",
        );
        let severity = if self.settings.strict {
            Severity::Error
        } else {
            self.relaxed.push("a problem statement is not required".to_owned());
            Severity::Warning
        };
        self.problems.push(Problem { severity, ..problem });
        String::new()
    }

    fn acceptance(&mut self) -> Vec<AcceptanceItem> {
        let items = acceptance::items(&self.outline, &self.lines, &self.sections);
        if items.is_empty() {
            let line = self
                .sections_for(Part::Acceptance)
                .next()
                .map_or_else(|| self.top(), |(section, _)| section.line);
            self.error(
                ProblemCode::AcceptanceMissing,
                line,
                "there are no acceptance criteria",
                "list under `## Acceptance Criteria`, one `- [ ]` per line, what must hold once the change is made",
            );
        }
        items
    }

    fn plan(&mut self) -> Option<PlanBlock> {
        let is_plan = |kind: &BlockKind| matches!(kind, BlockKind::Fence { info } if info == PLAN_INFO);
        let plans: Vec<PlanBlock> = self
            .outline
            .blocks
            .iter()
            .filter(|block| is_plan(&block.kind))
            .map(|block| PlanBlock { text: block.text.clone(), line: self.lines.number(block.range.start) })
            .collect();
        if let [_, second, ..] = plans.as_slice() {
            let places: Vec<String> = plans.iter().take(10).map(|p| p.line.to_string()).collect();
            let message = format!(
                "there are {} plans, on lines {}: which one holds is unclear",
                plans.len(),
                places.join(" and ")
            );
            self.error(
                ProblemCode::PlanAmbiguous,
                second.line,
                message,
                "keep one fenced block with the info string `millrace`",
            );
        }
        plans.into_iter().next()
    }

    fn optional(&mut self, part: Part) -> Option<String> {
        let (line, text) = self.best(part)?;
        if text.is_empty() {
            self.problems.push(Problem::warning(
                ProblemCode::SectionEmpty,
                Some(line),
                "this section is empty",
                "fill it in or remove the heading",
            ));
            return None;
        }
        Some(text)
    }

    fn listed(&mut self, part: Part, key: &str) -> Vec<String> {
        let mut found: Vec<String> = self
            .front
            .entries
            .iter()
            .filter(|entry| canonical_key(&entry.key) == key)
            .flat_map(|entry| entry.values.iter().cloned())
            .collect();
        if let Some(text) = self.optional(part) {
            let before = found.len();
            let blocks =
                self.sections_for(part).flat_map(|(section, _)| self.outline.blocks_in(&section.body));
            for block in blocks {
                if matches!(block.kind, BlockKind::Item { .. }) {
                    found.push(block.text.trim().to_owned());
                }
            }
            if found.len() == before && !is_nothing(&text) {
                found.push(text);
            }
        }
        found.retain(|entry| !is_nothing(entry));
        found
    }

    fn check_leftovers(&mut self) {
        let unfilled = placeholders::unfilled(self.text, &self.outline, &self.lines, self.settings);
        let reported: HashSet<Option<u32>> = self
            .problems
            .iter()
            .filter(|problem| problem.code == ProblemCode::TemplateUnfilled)
            .map(|problem| problem.line)
            .collect();
        self.problems.extend(unfilled.into_iter().filter(|p| !reported.contains(&p.line)));
        if let Some(offset) = self.outline.unclosed_comment {
            self.problems.push(Problem::warning(
                ProblemCode::CommentUnclosed,
                Some(self.lines.number(offset)),
                "this comment is never closed and hides the rest of the file",
                "close it with `-->`",
            ));
        }
    }

    /// The warnings, or everything if there is an error among it.
    fn verdict(&mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort_by_key(|problem| (problem.severity, problem.line));
        if problems.len() > MAX_PROBLEMS {
            let more = problems.len() - MAX_PROBLEMS;
            problems.truncate(MAX_PROBLEMS);
            problems.push(Problem::warning(
                ProblemCode::TooManyProblems,
                None,
                format!("{more} more problems are not listed"),
                "mend these first",
            ));
        }
        if problems.iter().any(|p| p.severity == Severity::Error) { Err(problems) } else { Ok(problems) }
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let front =
            self.front.entries.iter().map(|entry| (canonical_key(&entry.key), entry.values.join(", ")));
        let pairs =
            self.pairs.iter().filter(|pair| pair.in_head).map(|pair| (pair.key.clone(), pair.value.clone()));
        let mut metadata = BTreeMap::new();
        for (key, value) in front.chain(pairs) {
            if !key.is_empty() {
                metadata.entry(key).or_insert(value);
            }
        }
        metadata
    }

    /// A priority that means nothing here refuses nothing: the change is as urgent as most.
    fn priority(&mut self) -> Priority {
        let front = self.front.entries.iter().filter(|entry| canonical_key(&entry.key) == "priority");
        let front = front.map(|entry| (entry.values.join(", "), entry.line));
        let pairs = self.pairs.iter().filter(|pair| pair.in_head && pair.key == "priority");
        let named = front.chain(pairs.map(|pair| (pair.value.clone(), pair.line))).next();
        let Some((value, line)) = named else { return Priority::default() };
        priority::read(&value).unwrap_or_else(|| {
            self.problems.push(Problem::warning(
                ProblemCode::PriorityUnknown,
                Some(line),
                format!(
                    "`{}` is no priority; it counts as normal",
                    value.chars().take(40).collect::<String>()
                ),
                "write low, normal, high or urgent, or P3 to P0",
            ));
            Priority::default()
        })
    }

    /// Backlog.md writes these three keys into every task; nothing else depends on the answer.
    fn format(&self, metadata: &BTreeMap<String, String>) -> &'static str {
        let has_keys = ["id", "status", "created_date"].iter().all(|key| metadata.contains_key(*key));
        if has_keys && !self.front.entries.is_empty() { "backlog" } else { "generic" }
    }

    fn sections_for(&self, part: Part) -> impl Iterator<Item = (&Section, usize)> {
        self.sections.iter().filter_map(move |section| {
            let (_, rank) = section.parts.iter().find(|(p, _)| *p == part)?;
            Some((section, *rank))
        })
    }

    /// The best section of a part that says something, else the best empty one; with its line.
    fn best(&self, part: Part) -> Option<(u32, String)> {
        let mut candidates: Vec<(&Section, usize)> = self.sections_for(part).collect();
        candidates.sort_by_key(|(_, rank)| *rank);
        let mut empty = None;
        for (section, _) in candidates {
            let text = self.outline.visible_text(self.text, &section.body);
            if !text.is_empty() {
                return Some((section.line, text));
            }
            empty = empty.or(Some((section.line, text)));
        }
        empty
    }

    /// The first paragraph of prose before the first section.
    fn lead_paragraph(&self) -> Option<(u32, String)> {
        let until = self.sections.first().map_or(self.text.len(), |section| section.body.start);
        let paragraph = self.outline.blocks_in(&(0..until)).iter().find(|block| {
            let source = self.text.get(block.range.clone()).unwrap_or_default();
            block.kind == BlockKind::Paragraph
                && !block.text.trim().is_empty()
                && !source.lines().any(|line| metadata::key_line(line).is_some())
        })?;
        Some((self.lines.number(paragraph.range.start), paragraph.text.trim().to_owned()))
    }

    fn front_entry(&self, key: &str) -> Option<(u32, &str)> {
        let entry = self.front.entries.iter().find(|entry| canonical_key(&entry.key) == key)?;
        let value = entry.values.first()?;
        (!value.is_empty()).then_some((entry.line, value.as_str()))
    }

    fn front_value(&self, key: &str) -> Option<&str> {
        self.front_entry(key).map(|(_, value)| value)
    }

    /// Where a fault is shown that has no place of its own: the title, else the first line.
    fn top(&self) -> u32 {
        self.title_heading().map_or(1, |(_, line)| line)
    }

    fn error(&mut self, code: ProblemCode, line: u32, message: impl Into<String>, advice: &str) {
        self.problems.push(Problem::error(code, Some(line), message, advice));
    }
}

fn readiness(open: bool, metadata: &BTreeMap<String, String>, acceptance: &[AcceptanceItem]) -> Readiness {
    let says_done = metadata.get("status").is_some_and(|status| {
        let status = status.to_lowercase();
        ["done", "complete", "completed", "closed"]
            .iter()
            .any(|word| status.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word))
    });
    if open {
        Readiness::Draft
    } else if says_done && acceptance.iter().all(|item| item.done == Some(true)) {
        Readiness::Done
    } else {
        Readiness::Ready
    }
}

fn is_nothing(text: &str) -> bool {
    let text = text.trim().trim_end_matches('.').to_lowercase();
    matches!(text.as_str(), "" | "none" | "n/a" | "-" | "–" | "nothing")
}
