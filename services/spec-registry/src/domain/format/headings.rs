//! Which everyday heading means which part of a specification.

/// A part of a specification that a heading can announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Summary,
    ProblemStatement,
    Acceptance,
    TechnicalApproach,
    TestPlan,
    Dependencies,
    OpenQuestions,
}

/// The synonyms, best first: when several are present, the earlier one is the better source. A heading may
/// serve two parts (a `Description` is a summary, and a problem statement where nothing better stands).
const SYNONYMS: &[(Part, &[&str])] = &[
    (
        Part::Summary,
        &[
            "summary",
            "overview",
            "executive summary",
            "introduction",
            "purpose",
            "description",
            "objective",
            "はじめに",
        ],
    ),
    (
        Part::ProblemStatement,
        &[
            "problem statement",
            "problem",
            "the problem",
            "motivation",
            "why",
            "current behavior",
            "current behaviour",
            "issue",
            "background",
            "description",
            "introduction",
        ],
    ),
    (
        Part::Acceptance,
        &[
            "acceptance criteria",
            "acceptance criterion",
            "acceptance scenarios",
            "acceptance tests",
            "acceptance",
            "testing criteria",
            "success criteria",
            "testing checklist",
            "verification",
            "受入基準",
        ],
    ),
    (
        Part::TechnicalApproach,
        &[
            "technical approach",
            "technical design",
            "approach",
            "implementation plan",
            "implementation",
            "proposed solution",
            "solution",
            "design",
        ],
    ),
    (Part::TestPlan, &["test plan", "testing", "independent test", "definition of done"]),
    (Part::Dependencies, &["dependencies", "depends on", "blocked by", "prerequisites"]),
    (Part::OpenQuestions, &["open questions", "questions", "clarifications needed"]),
];

/// The parts a heading announces, each with its rank among the synonyms (0 is best).
pub(crate) fn parts_of(heading: &str) -> Vec<(Part, usize)> {
    if is_scenario(heading) {
        return vec![(Part::Acceptance, usize::MAX)];
    }
    let wanted = normalise(heading);
    SYNONYMS
        .iter()
        .filter_map(|(part, names)| {
            let rank = names.iter().position(|name| *name == wanted)?;
            Some((*part, rank))
        })
        .collect()
}

/// Whether the heading opens one scenario: `Scenario: the cart is empty`.
pub(crate) fn is_scenario(heading: &str) -> bool {
    let heading = heading.trim();
    heading.get(.."scenario".len()).is_some_and(|word| word.eq_ignore_ascii_case("scenario"))
        && heading.contains(':')
}

/// Lower case, single spaces, without emoji, punctuation, leading numbers and a closing remark in brackets:
/// `2.1 ✅ Acceptance Criteria *(mandatory)*:` becomes `acceptance criteria`.
pub(crate) fn normalise(heading: &str) -> String {
    let without_remark = match heading.find(['(', '（']) {
        Some(at) if at > 0 => heading.get(..at).unwrap_or(heading),
        _ => heading,
    };
    let words_only: String =
        without_remark.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    words_only
        .split_whitespace()
        .skip_while(|word| word.chars().all(|c| c.is_ascii_digit()))
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn case_emoji_numbers_and_remarks_do_not_matter() {
        for heading in [
            "Acceptance Criteria",
            "ACCEPTANCE CRITERIA:",
            "✅ Acceptance criteria",
            "3. Acceptance Criteria",
            "2.1 – Acceptance Criteria (mandatory)",
            "1️⃣ Acceptance Criteria",
        ] {
            assert_eq!(parts_of(heading), [(Part::Acceptance, 0)], "{heading}");
        }
    }

    #[test]
    fn a_description_serves_as_summary_and_as_problem_statement() {
        let parts: Vec<Part> = parts_of("Description").into_iter().map(|p| p.0).collect();
        assert_eq!(parts, [Part::Summary, Part::ProblemStatement]);
    }

    #[test]
    fn other_headings_announce_nothing() {
        for heading in ["Summary of the discussion", "Notes", "", "42", "(x)", "シ"] {
            assert_eq!(parts_of(heading), [], "{heading}");
        }
    }
}
