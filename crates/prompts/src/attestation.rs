//! Whether a prompt is still the one that was meant (S4-SP4, S4-VER4, S4-CI5). Its header's digest is compared with the
//! baseline of its phase and role. What differs is said; in phases that judge, it blocks.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::v1::Phase;

use crate::library::LibraryError;
use crate::variant::Variant;
use crate::{Compiled, Library, PHASES, ROLES, Request, compile, phase_named};

const BUNDLED: &str = include_str!("../../../prompts/baseline.json");

/// The digests that the headers are meant to have, by the name of the prompt, such as `plan-planner`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    headers: BTreeMap<String, String>,
}

/// In which phases drift blocks; elsewhere it warns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationPolicy {
    blocking: BTreeSet<Phase>,
}

/// What the comparison says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attestation {
    /// The prompt is its baseline.
    Same,
    /// It is not; the work goes on and says so.
    Warned(Drift),
    /// It is not; the work must not go on: `PROMPT_DRIFT`.
    Blocked(Drift),
}

/// How a prompt differs from its baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The prompt, such as `review-reviewer`.
    pub prompt: String,
    /// What the baseline says; empty if it knows no such prompt.
    pub expected_sha256: String,
    /// What was compiled.
    pub found_sha256: String,
}

impl Default for AttestationPolicy {
    /// Drift blocks where work is judged: VERIFY, REVIEW and MONITOR.
    fn default() -> Self {
        Self { blocking: [Phase::Verify, Phase::Review, Phase::Monitor].into() }
    }
}

impl AttestationPolicy {
    /// Drift blocks in the phases of these names.
    ///
    /// # Errors
    /// The first name that is no phase.
    pub fn blocking<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let named = |name: &'a str| phase_named(name).ok_or_else(|| name.to_owned());
        Ok(Self { blocking: names.into_iter().map(named).collect::<Result<_, _>>()? })
    }
}

impl Baseline {
    /// The baseline built into this program.
    ///
    /// # Errors
    /// Its file is malformed; the tests of this crate rule that out.
    pub fn bundled() -> Result<Self, LibraryError> {
        let headers =
            serde_json::from_str(BUNDLED).map_err(|error| LibraryError::Baseline(error.to_string()))?;
        Ok(Self { headers })
    }

    /// What the baseline of a library would be: the header of every phase and role, in every variant that a persona has.
    ///
    /// # Errors
    /// A part is missing.
    pub fn of(library: &Library) -> Result<Self, crate::CompileError> {
        let mut headers = BTreeMap::new();
        for role in ROLES {
            let persona = library.persona(role);
            let variants =
                persona.map(|persona| persona.variants.keys().copied().collect()).unwrap_or_default();
            let variants: Vec<Variant> = variants;
            for (phase, variant) in
                PHASES.into_iter().flat_map(|phase| variants.iter().map(move |v| (phase, *v)))
            {
                let request = Request {
                    role,
                    phase,
                    variant,
                    domain: None,
                    skills: &[],
                    rubric: None,
                    anchors: &[],
                    material: &[],
                };
                let compiled = compile(library, &request)?;
                headers.insert(compiled.prompt, compiled.header_sha256);
            }
        }
        Ok(Self { headers })
    }

    /// Takes a digest as what is meant from now on, after somebody with the right to has said so (S4-TH4).
    pub fn rebase(&mut self, prompt: &str, sha256: &str) {
        self.headers.insert(prompt.to_owned(), sha256.to_owned());
    }

    /// What the header of a prompt is meant to be.
    #[must_use]
    pub fn expected(&self, prompt: &str) -> Option<&str> {
        self.headers.get(prompt).map(String::as_str)
    }

    /// As it stands in `prompts/baseline.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings always have a JSON form.
        serde_json::to_string_pretty(&self.headers).unwrap_or_default() + "\n"
    }
}

/// Compares a prompt with its baseline.
#[must_use]
pub fn attest(compiled: &Compiled, baseline: &Baseline, policy: &AttestationPolicy) -> Attestation {
    let expected = baseline.expected(&compiled.prompt).unwrap_or_default();
    if expected == compiled.header_sha256 {
        return Attestation::Same;
    }
    let drift = Drift {
        prompt: compiled.prompt.clone(),
        expected_sha256: expected.to_owned(),
        found_sha256: compiled.header_sha256.clone(),
    };
    if policy.blocking.contains(&compiled.phase) {
        Attestation::Blocked(drift)
    } else {
        Attestation::Warned(drift)
    }
}
