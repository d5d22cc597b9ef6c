//! Puts a prompt together: core, role, manner, phase, domain, skills, rubric; then the task's own texts as data.

use std::fmt::Write as _;

use millrace_events::v1::Phase;
use millrace_policy::hidden_text::{Format, Removal};
use sha2::{Digest, Sha256};

use crate::data::{Material, block};
use crate::library::Library;
use crate::variant::Variant;
use crate::{Part, phase_name, sha256};

/// What a prompt is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `planner`, `implementer` or `reviewer`.
    pub role: &'a str,
    /// The phase of the work.
    pub phase: Phase,
    /// The overlay: `orchestrator`, `web`, `ml`, `api` or `security`. None: no overlay.
    pub domain: Option<&'a str>,
    /// Skills, in the order in which they are sent.
    pub skills: &'a [&'a str],
    /// The rubric to judge by.
    pub rubric: Option<&'a str>,
    /// Which of two versions.
    pub variant: Variant,
    /// Places of the repository to look at.
    pub anchors: &'a [Anchor],
    /// The task's own texts, in the order in which they are sent.
    pub material: &'a [Material<'a>],
}

/// A place of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Path from the repository's root.
    pub file: String,
    /// A symbol in it.
    pub symbol: Option<String>,
}

/// A prompt that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The system prompt: everything that is not the task's own. These bytes are the artifact.
    pub system: String,
    /// The question: the task's own texts as data.
    pub text: String,
    /// SHA-256 of both, each preceded by its length.
    pub sha256: String,
    /// SHA-256 of the artifact, under which its bytes are kept.
    pub artifact_sha256: String,
    /// The name of the header in the baseline, such as `plan-planner`; of a second variant `plan-planner-b`.
    pub prompt: String,
    /// The versions of core, role and phase, such as `1.2.1`.
    pub version: String,
    /// SHA-256 of the header: core, role, manner and phase, with the persona's digest. What the baseline names.
    pub header_sha256: String,
    /// SHA-256 of the canonical persona.
    pub persona_sha256: String,
    /// The role it is for.
    pub role: String,
    /// The phase it is for.
    pub phase: Phase,
    /// Which of two versions it is.
    pub variant: Variant,
    /// The parts that the artifact is made of, in order.
    pub parts: Vec<PartRef>,
    /// What was hidden in the task's own texts and taken away.
    pub taken: Vec<Taken>,
}

/// A part, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// Something that was hidden in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The heading of the text.
    pub heading: String,
    /// What was taken away.
    pub removal: Removal,
}

/// Why a prompt cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no such part.
    #[error("there is no {kind} `{name}`; there are {known}")]
    Unknown {
        /// `role`, `phase`, `domain`, `skill` or `rubric`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Compiles a prompt. The same library and the same request give the same bytes.
///
/// # Errors
/// A part that is asked for does not exist.
pub fn compile(library: &Library, request: &Request<'_>) -> Result<Compiled, CompileError> {
    let unknown_role = || unknown(library, "role", "roles", request.role);
    let persona = library.persona(request.role).ok_or_else(unknown_role)?;
    let persona_sha256 = persona.sha256();
    let part = persona.part(request.variant);
    let role = library.part(&part).ok_or_else(unknown_role)?;
    let core = library.part("core").ok_or_else(|| unknown(library, "part", "", "core"))?;
    let phase = named(library, "phase", "phases", &phase_name(request.phase))?;

    let manner = format!("# Manner\n\n{}", persona.tone(request.variant));
    let header = [core.body.as_str(), &role.body, &manner, &phase.body].join("\n\n");
    let mut parts = vec![core, role, phase];
    parts.extend(request.domain.map(|name| named(library, "domain", "domains", name)).transpose()?);
    for skill in request.skills {
        parts.push(named(library, "skill", "skills", skill)?);
    }
    parts.extend(request.rubric.map(|name| named(library, "rubric", "rubrics", name)).transpose()?);

    let chosen = parts.iter().skip(3).map(|part| part.body.as_str());
    let mut system = std::iter::once(header.as_str()).chain(chosen).collect::<Vec<_>>().join("\n\n");
    system.push('\n');
    let (text, taken) = question(request);
    let suffix =
        if request.variant == Variant::A { String::new() } else { format!("-{}", request.variant.name()) };
    Ok(Compiled {
        sha256: joint_sha256(&system, &text),
        artifact_sha256: sha256(system.as_bytes()),
        prompt: format!("{}-{}{suffix}", phase_name(request.phase), request.role),
        version: [core, role, phase].map(|part| part.version.as_str()).join("."),
        header_sha256: joint_sha256(&header, &persona_sha256),
        persona_sha256,
        role: request.role.to_owned(),
        phase: request.phase,
        variant: request.variant,
        parts: parts.into_iter().map(PartRef::of).collect(),
        system,
        text,
        taken,
    })
}

impl PartRef {
    fn of(part: &Part) -> Self {
        Self { name: part.name.clone(), version: part.version.clone(), sha256: part.sha256.clone() }
    }
}

/// The question: anchors first, then each text under its heading.
fn question(request: &Request<'_>) -> (String, Vec<Taken>) {
    let (mut text, mut taken) = (String::new(), Vec::new());
    let mut add = |heading: &str, content: &str, format: Format| {
        let (block, stripped) = block(heading, content, format);
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}# {heading}\n\n{block}");
        let heading = heading.to_owned();
        taken.extend(stripped.removed.into_iter().map(|removal| Taken { heading: heading.clone(), removal }));
    };
    if !request.anchors.is_empty() {
        add("Where to look", &listed(request.anchors), Format::Plain);
    }
    for material in request.material {
        add(material.heading, material.text, material.format);
    }
    (text, taken)
}

/// One place per line. Names of files are others' texts too: a line break in one is no new line.
fn listed(anchors: &[Anchor]) -> String {
    let on_one_line = |text: &str| text.replace(['\n', '\r'], " ");
    let lines: Vec<String> = anchors
        .iter()
        .map(|anchor| match &anchor.symbol {
            Some(symbol) => format!("- {} ({})", on_one_line(&anchor.file), on_one_line(symbol)),
            None => format!("- {}", on_one_line(&anchor.file)),
        })
        .collect();
    lines.join("\n")
}

fn named<'a>(
    library: &'a Library,
    kind: &'static str,
    folder: &'static str,
    name: &str,
) -> Result<&'a Part, CompileError> {
    library.part(&format!("{folder}/{name}")).ok_or_else(|| unknown(library, kind, folder, name))
}

fn unknown(library: &Library, kind: &'static str, folder: &str, name: &str) -> CompileError {
    let known: Vec<&str> = library.names(folder).filter(|name| !name.ends_with(".b")).collect();
    CompileError::Unknown { kind, name: name.chars().take(100).collect(), known: known.join(", ") }
}

/// SHA-256 of two texts, of which none can take over a piece of the other.
fn joint_sha256(one: &str, other: &str) -> String {
    let mut hash = Sha256::new();
    for text in [one, other] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}
