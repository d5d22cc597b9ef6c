//! What the models are asked in each phase. The words are the prompt library's; what others wrote goes in as data.

use millrace_events::v1::Phase;
use millrace_policy::hidden_text::Format;
use millrace_prompts::{Anchor, Material};
use millrace_router::{Origin, Role};
use serde_json::Value;

use super::super::failures::Step;
use super::super::job::Job;
use super::super::prompts::Wanted;
use crate::process::tools::bounded;

/// Longest single text of others in a question, in characters.
const TEXT_CHARS: usize = 60_000;

/// A question, compiled.
pub(super) struct Compiled {
    pub(super) system: String,
    pub(super) prompt: String,
    pub(super) origin: Origin,
}

/// The texts of one question, in the order in which they are sent.
#[derive(Default)]
pub(super) struct Texts {
    texts: Vec<(String, String, Format)>,
    pub(super) anchors: Vec<Anchor>,
}

impl Texts {
    /// A text for people.
    pub(super) fn document(&mut self, heading: &str, text: &str) -> &mut Self {
        self.add(heading, text, Format::Markdown)
    }

    /// Code, a log, an answer.
    pub(super) fn plain(&mut self, heading: &str, text: &str) -> &mut Self {
        self.add(heading, text, Format::Plain)
    }

    /// An answer that a phase before this one has given.
    pub(super) fn answer(&mut self, heading: &str, answer: &Value) -> &mut Self {
        self.plain(heading, &format!("{answer:#}"))
    }

    fn add(&mut self, heading: &str, text: &str, format: Format) -> &mut Self {
        if !text.trim().is_empty() {
            self.texts.push((heading.to_owned(), bounded(text, TEXT_CHARS), format));
        }
        self
    }

    /// The question of a role in a phase.
    pub(super) async fn compile(&self, job: &Job<'_>, role: Role, phase: Phase) -> Step<Compiled> {
        let material: Vec<Material<'_>> = self
            .texts
            .iter()
            .map(|(heading, text, format)| Material { heading, text, format: *format })
            .collect();
        let wanted = Wanted { role, phase, anchors: &self.anchors, material: &material };
        let prompt = job.prompt(wanted).await?;
        Ok(Compiled { system: prompt.system, prompt: prompt.text, origin: prompt.origin })
    }
}
