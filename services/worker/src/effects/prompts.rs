//! What the models are asked: compiled from the prompts of this installation, compared with their baseline, kept by
//! digest, and searched for secrets before anything is sent. docs/prompts.md.

use std::path::Path;

use millrace_events::v1::{Failure, ModelCallRecord, Phase, PromptDriftDetected};
use millrace_events::{Code, Event, Key, Log, OperatorEvent};
use millrace_policy::secrets::{self, Finding};
use millrace_prompts::{
    Anchor, Attestation, AttestationPolicy, Baseline, Compiled, Drift, Library, LibraryError, Material,
    Request, attest, compile, phase_named,
};
use millrace_router::{Origin, Role};
use millrace_runtime::settings::SettingsError;
use millrace_telemetry::metrics::Counter;
use millrace_telemetry::names::{attribute, metric};

use super::failures::{Step, Stop};
use super::job::Job;

/// Characters of an earlier failure that are shown.
const FAILURE_CHARS: usize = 4_000;
/// Keys under which people say that a prompt was changed on purpose: `prompt-plan-planner`.
const BASELINE_KEY: &str = "prompt-";

/// The prompts of this installation, and what they are meant to be.
pub struct Prompts {
    library: Library,
    baseline: Baseline,
    policy: AttestationPolicy,
    drifted: Counter,
}

impl Prompts {
    /// Those that are built in.
    ///
    /// # Errors
    /// One of them is malformed.
    pub fn bundled() -> Result<Self, LibraryError> {
        Ok(Self::of(Library::bundled()?, Baseline::bundled()?, AttestationPolicy::default()))
    }

    /// With the files of a folder in place of those that are built in; drift blocks in the named phases.
    ///
    /// # Errors
    /// A setting that cannot be used, by name.
    pub fn configured(folder: Option<&Path>, drift_blocks: &[String]) -> Result<Self, SettingsError> {
        let refused = |error: LibraryError| SettingsError::invalid(format!("[worker] prompts: {error}"));
        let library = match folder {
            Some(folder) => Library::with_folder(folder),
            None => Library::bundled(),
        };
        let policy = policy(drift_blocks)?;
        Ok(Self::of(library.map_err(refused)?, Baseline::bundled().map_err(refused)?, policy))
    }

    fn of(library: Library, baseline: Baseline, policy: AttestationPolicy) -> Self {
        Self { library, baseline, policy, drifted: Counter::new(&metric::PROMPT_DRIFT, &[]) }
    }

    /// The parts and personas.
    pub(super) fn library(&self) -> &Library {
        &self.library
    }
}

/// In which phases drift blocks.
///
/// # Errors
/// A name is no phase.
pub(crate) fn policy(drift_blocks: &[String]) -> Result<AttestationPolicy, SettingsError> {
    AttestationPolicy::blocking(drift_blocks.iter().map(String::as_str)).map_err(|unknown| {
        SettingsError::invalid(format!(
            "[worker] prompt_drift_blocks: `{unknown}` is no phase; use names such as VERIFY, REVIEW, MONITOR"
        ))
    })
}

/// What a prompt is wanted for.
pub(super) struct Wanted<'a> {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) anchors: &'a [Anchor],
    pub(super) material: &'a [Material<'a>],
}

/// A prompt that may be sent.
pub(super) struct Prompt {
    pub(super) system: String,
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Job<'_> {
    /// The prompt for a role in a phase: the task's variant of it, as it was meant, its bytes kept. S0-4.8a, S4-IMP-24.
    pub(super) async fn prompt(&self, wanted: Wanted<'_>) -> Step<Prompt> {
        let library = self.bench.prompts.library();
        let role = wanted.role.name();
        let persona = library.persona(role);
        let variant = persona.map(|persona| persona.variant_for(&self.task.task)).unwrap_or_default();
        // The domain of a spec names a part of the product. A domain without words of its own is asked about like
        // any other.
        let domain = self.order().domain.trim();
        let request = Request {
            role,
            phase: wanted.phase,
            domain: library.names("domains").find(|known| known.eq_ignore_ascii_case(domain)),
            skills: &[],
            rubric: (wanted.phase == Phase::Review).then_some("review"),
            variant,
            anchors: wanted.anchors,
            material: wanted.material,
        };
        let compiled = compile(library, &request)
            .map_err(|error| Stop::caused(Code::Internal, "a prompt could not be compiled", &error))?;
        for taken in &compiled.taken {
            let (kind, line) = (taken.removal.kind.name(), taken.removal.line);
            tracing::warn!(text = taken.heading, kind, line, "hidden text is not shown to the model");
        }
        self.attested(&compiled).await?;
        self.store("prompt.md", compiled.system.as_bytes()).await?;
        tracing::debug!(
            prompt = compiled.prompt,
            version = compiled.version,
            variant = variant.name(),
            "compiled"
        );
        let origin = Origin {
            prompt: compiled.prompt,
            prompt_version: compiled.version,
            artifact_sha256: compiled.artifact_sha256,
            persona_sha256: compiled.persona_sha256,
            variant: variant.name().to_owned(),
        };
        Ok(Prompt { system: compiled.system, text: compiled.text, origin })
    }

    /// A prompt that is not its baseline is said, and in phases that judge it ends the work. S4-SP4, S4-CI5.
    async fn attested(&self, compiled: &Compiled) -> Step<()> {
        let prompts = &self.bench.prompts;
        let baseline = self.baseline(&compiled.prompt).await?;
        let (drift, blocked) = match attest(compiled, &baseline, &prompts.policy) {
            Attestation::Same => return Ok(()),
            Attestation::Warned(drift) => (drift, false),
            Attestation::Blocked(drift) => (drift, true),
        };
        prompts.drifted.add_one();
        let Drift { prompt, expected_sha256, found_sha256 } = drift;
        tracing::warn!(
            { attribute::TASK_ID } = self.task.task.as_str(),
            prompt,
            expected_sha256,
            found_sha256,
            blocked,
            "a prompt is not its baseline"
        );
        let event = PromptDriftDetected {
            task: Some(self.task.clone()),
            prompt: prompt.clone(),
            expected_sha256: expected_sha256.clone(),
            found_sha256: found_sha256.clone(),
            blocked,
        };
        self.journal.note(event).await?;
        if !blocked {
            return Ok(());
        }
        let message = format!(
            "the prompt `{prompt}` is not its baseline, and the phase that it is for judges work; reset the baseline \
             if the change was meant"
        );
        Err(Stop::failed(Code::PromptDrift, message)
            .with("prompt", prompt)
            .with("expected_sha256", expected_sha256)
            .with("found_sha256", found_sha256))
    }

    /// What a prompt is meant to be: the built-in digest, or what people have said since. S4-TH4.
    async fn baseline(&self, prompt: &str) -> Step<Baseline> {
        let mut baseline = self.bench.prompts.baseline.clone();
        let key = Key::new(format!("{BASELINE_KEY}{prompt}"))
            .map_err(|error| Stop::caused(Code::Internal, "the name of a prompt is no key", &error))?;
        let mut backoff = self.backoff();
        let logged = loop {
            match self.context().logs().events(Log::Operator, &key).await {
                Ok(logged) => break logged,
                Err(error) => {
                    let what = format!("the baseline of `{prompt}` could not be read");
                    self.wait_out(error.into(), what, backoff.pause()).await?;
                }
            }
        };
        for logged in logged {
            let Event::Operator(OperatorEvent::PromptBaselineReset(reset)) = logged.event else { continue };
            // Who says so, and why, belongs to it.
            if reset.prompt == prompt && !reset.actor.trim().is_empty() && !reset.reason.trim().is_empty() {
                baseline.rebase(prompt, &reset.sha256);
            }
        }
        Ok(baseline)
    }
}

/// The last look at what is about to be sent, whoever put it together: a credential in it ends the work. S4-Q1.
pub(super) fn without_secrets(system: &str, prompt: &str) -> Step<()> {
    for text in [system, prompt] {
        if let Some(finding) = secrets::scan(text).into_iter().next() {
            let place = place(text, &finding);
            let message = format!(
                "{place} holds what looks like a credential ({}): {}; nothing was sent to a model",
                finding.rule, finding.excerpt
            );
            return Err(Stop::failed(Code::SecretDetected, message)
                .with("rule", finding.rule)
                .with("place", place));
        }
    }
    Ok(())
}

/// The data block in which a finding lies, and the line in it.
fn place(text: &str, finding: &Finding) -> String {
    let before = text.get(..finding.range.start).unwrap_or_default();
    let lines: Vec<&str> = before.lines().collect();
    let named = lines.iter().enumerate().rev().find_map(|(number, line)| {
        let name = line.trim_start_matches('`').strip_prefix("data ")?;
        line.starts_with("````").then_some((number, name.split(' ').next()?))
    });
    match named {
        Some((number, name)) => format!("`{name}`, line {}", finding.line.saturating_sub(number + 1)),
        None => format!("the prompt, line {}", finding.line),
    }
}

/// What an earlier attempt failed with.
pub(super) fn told(failure: &Failure) -> String {
    let mut text = format!("{}: {}", failure.code_name(), failure.message);
    for cause in failure.causes.iter().chain(failure.context.get("output_tail")) {
        text.push('\n');
        text.push_str(cause);
    }
    text.chars().take(FAILURE_CHARS).collect()
}

/// What a model was asked with, by which failures are grouped: changes with the words, and with nothing that is a
/// task's own. Empty where no prompt of ours was sent.
pub(super) fn version(call: &ModelCallRecord) -> String {
    if call.artifact_sha256.is_empty() {
        return String::new();
    }
    let digest: String = call.artifact_sha256.chars().take(12).collect();
    format!("{}-{}-{digest}", call.role, call.prompt_version)
}

/// The phase of a prompt, by its name.
pub(super) fn phase_of(prompt: &str) -> Phase {
    prompt.split('-').next().and_then(phase_named).unwrap_or(Phase::Unspecified)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_policy::hidden_text::Format;
    use millrace_prompts::block;

    use super::*;

    #[test]
    fn a_new_attempt_is_told_what_the_last_one_failed_with() {
        let failure = Failure::new(Code::CommandFailed, "the check fails").with("output_tail", "2 != 3");
        assert_eq!(told(&failure), "COMMAND_FAILED: the check fails\n2 != 3");
    }

    #[test]
    fn s4_q1_a_secret_is_named_by_its_place_and_never_repeated() {
        let secret = format!("ghp_{}", "q7Rt2Zx9Lm4Vb8Nc3Kd6Wf1Yh5Gj0PsTq7Rt2Z");
        let text = format!("# Title\n\none\n{secret}\n");
        let prompt = format!("# Specification\n\n{}", block("Specification", &text, Format::Markdown).0);
        let Err(Stop::Failed(failure)) = without_secrets("plain", &prompt) else {
            panic!("it was not found")
        };
        assert_eq!(failure.known_code(), Some(Code::SecretDetected));
        assert_eq!(failure.context["place"], "`specification`, line 4");
        assert_eq!(failure.context["rule"], "github-token");
        assert!(!failure.message.contains(&secret[8..]), "{}", failure.message);
        assert!(without_secrets(&secret, "plain").is_err());
        assert!(without_secrets("plain", &prompt.replace(&secret, "<token>")).is_ok());
    }

    #[test]
    fn the_phase_of_a_prompt_is_in_its_name() {
        assert_eq!(phase_of("plan-planner"), Phase::Plan);
        assert_eq!(phase_of("review-reviewer-b"), Phase::Review);
        assert_eq!(phase_of(""), Phase::Unspecified);
    }

    #[test]
    fn s4_imp_05_a_phase_that_does_not_exist_is_refused_by_name() {
        assert!(policy(&["verify".to_owned()]).is_ok());
        let error = policy(&["DEPLOY".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("prompt_drift_blocks") && error.contains("DEPLOY"), "{error}");
    }
}
