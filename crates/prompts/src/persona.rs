//! Who is asked: the manner, the tools, and the variants of a role.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::canonical_json;
use crate::sha256;
use crate::variant::{Variant, assign, is_sampled};

/// Longest text of a persona, in characters.
const LONGEST: usize = 2_000;

/// A persona, one JSON file per role. Its digest is taken over the canonical form, so that the order of keys and blanks
/// do not matter and every value does (S4-IMP-22).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonaSpec {
    /// What it is called, in records.
    pub name: String,
    /// The role that it plays: `planner`, `implementer` or `reviewer`.
    pub role: String,
    /// How it writes, in a sentence or two, sent with every question.
    pub tone: String,
    /// The tools that it may use, whatever a phase allows besides.
    pub tools: BTreeSet<String>,
    /// What differs in each variant; `a` must be there.
    pub variants: BTreeMap<Variant, VariantSpec>,
    /// The trial of variant `b` that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// What differs in a variant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// The part of the role, where it is not `roles/<role>`, such as `roles/planner.b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The tone, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tone: Option<String>,
}

/// A trial of two variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Its id: another one draws the tasks anew.
    pub id: String,
    /// How many of a thousand tasks take part, half of them with variant `b`.
    pub sample_per_mille: u16,
}

impl PersonaSpec {
    /// Reads a persona.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let persona: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let tones = persona.variants.values().filter_map(|variant| variant.tone.as_ref());
        for tone in tones.chain([&persona.tone]) {
            if tone.trim().is_empty() || tone.chars().count() > LONGEST || tone.chars().any(char::is_control)
            {
                return Err(format!("`tone` must be one line of 1 to {LONGEST} characters"));
            }
        }
        if !persona.variants.contains_key(&Variant::A) {
            return Err("`variants` must have `a`, the one in use".to_owned());
        }
        if let Some(trial) = &persona.trial {
            if trial.id.is_empty() || trial.sample_per_mille > 1_000 {
                return Err("`trial` needs an `id` and a `sample_per_mille` of 0 to 1000".to_owned());
            }
            if !persona.variants.contains_key(&Variant::B) {
                return Err("a `trial` compares `a` with `b`, and `variants` has no `b`".to_owned());
            }
        }
        if let Some(tool) = persona.tools.iter().find(|tool| tool.trim().is_empty()) {
            return Err(format!("`tools`: `{tool}` is no tool"));
        }
        Ok(persona)
    }

    /// SHA-256 of the canonical form in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(self.canonical().as_bytes())
    }

    /// The canonical form: JSON with sorted keys and without blanks.
    #[must_use]
    pub fn canonical(&self) -> String {
        // Strings, numbers, lists and maps with string keys always have a JSON form.
        canonical_json(&serde_json::to_value(self).unwrap_or(Value::Null))
    }

    /// The variant that a task gets: `b` only in a trial, for half of those that take part.
    #[must_use]
    pub fn variant_for(&self, task: &str) -> Variant {
        match &self.trial {
            Some(trial) if is_sampled(&trial.id, task, trial.sample_per_mille) => assign(&trial.id, task),
            _ => Variant::A,
        }
    }

    /// The part of the role in a variant.
    pub(crate) fn part(&self, variant: Variant) -> String {
        let part = self.variants.get(&variant).and_then(|variant| variant.part.clone());
        part.unwrap_or_else(|| format!("roles/{}", self.role))
    }

    /// The tone in a variant.
    pub(crate) fn tone(&self, variant: Variant) -> &str {
        let tone = self.variants.get(&variant).and_then(|variant| variant.tone.as_deref());
        tone.unwrap_or(&self.tone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const PERSONA: &str = r#"{"name": "p", "role": "planner", "tone": "Plain.", "tools": ["read", "list"],
        "variants": {"a": {}, "b": {"tone": "Terse."}}, "trial": {"id": "t1", "sample_per_mille": 500}}"#;

    fn digest(text: &str) -> String {
        PersonaSpec::parse(text).unwrap().sha256()
    }

    #[test]
    fn s4_imp_22_key_order_and_blanks_do_not_change_the_digest_and_every_value_does() {
        let same = r#"{"trial":{"sample_per_mille":500,"id":"t1"},"variants":{"b":{"tone":"Terse."},"a":{}},
            "tools":["list","read"],"tone":"Plain.","role":"planner","name":"p"}"#;
        assert_eq!(digest(PERSONA), digest(same));
        let canonical = PersonaSpec::parse(PERSONA).unwrap().canonical();
        assert!(
            canonical.starts_with(r#"{"name":"p","role":"planner","tone":"Plain.","tools":["list","read"],"#)
        );
        assert_eq!(PersonaSpec::parse(&canonical).unwrap().canonical(), canonical);
        for (from, to) in [
            ("\"p\"", "\"q\""),
            ("planner", "reviewer"),
            ("Plain.", "Plain. "),
            ("\"list\"", "\"list\", \"write\""),
            ("Terse.", "terse."),
            ("\"t1\"", "\"t2\""),
            ("500", "501"),
        ] {
            assert_ne!(digest(PERSONA), digest(&PERSONA.replacen(from, to, 1)), "{from}");
        }
    }

    #[test]
    fn what_is_no_persona_is_refused() {
        for (from, to, reason) in [
            ("\"name\"", "\"nome\"", "unknown field"),
            ("Plain.", " ", "`tone`"),
            ("Terse.", "a\\nb", "`tone`"),
            ("\"a\": {}, ", "", "must have `a`"),
            (", \"b\": {\"tone\": \"Terse.\"}", "", "has no `b`"),
            ("500", "1001", "0 to 1000"),
            ("\"list\"", "\"\"", "is no tool"),
            ("\"b\": {", "\"c\": {", "unknown variant"),
        ] {
            let error = PersonaSpec::parse(&PERSONA.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn s4_imp_26_a_trial_gives_half_of_the_sampled_tasks_the_second_variant() {
        let persona = PersonaSpec::parse(PERSONA).unwrap();
        let seconds =
            (0..10_000).filter(|number| persona.variant_for(&format!("T-{number}")) == Variant::B).count();
        assert!((2_300..2_700).contains(&seconds), "{seconds}");
        let none = PersonaSpec { trial: None, ..persona };
        assert!((0..100).all(|number| none.variant_for(&format!("T-{number}")) == Variant::A));
        assert_eq!((none.tone(Variant::A), none.tone(Variant::B)), ("Plain.", "Terse."));
    }
}
