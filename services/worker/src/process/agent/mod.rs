//! The loop in which a model works with tools, ours from end to end: decomposition (the model says what comes
//! next), the tool call, validation of its result, memory, reflection. Each of the five can be swapped; each says
//! when it starts and ends. S3-4.3a, S3-3.2.

mod limits;
mod memory;
mod stuck;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use limits::{Limit, Progress};
pub use memory::{Memory, Transcript};
pub use stuck::{Recent, Reflection, Step, Stuck};

use super::table::PhaseTable;
use super::tools::{Context, Tool, ToolRefusal};

/// What a model does in one turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// It calls a tool.
    Call {
        /// Which.
        tool: String,
        /// With what.
        arguments: Value,
    },
    /// It hands its result over.
    Done(Value),
    /// It thinks aloud and does nothing.
    Thought(String),
    /// What it said is none of these; why.
    Unreadable(String),
}

/// Decomposition: says what comes next.
#[async_trait]
pub trait Mind: Send {
    /// Why it cannot say anything: the work ends.
    type Error: Send;

    /// The next turn, in the light of what happened so far.
    ///
    /// # Errors
    /// No model answers.
    async fn turn(&mut self, so_far: &str) -> Result<Turn, Self::Error>;
}

/// The tool call: carries out what was allowed.
#[async_trait]
pub trait Toolbox: Send {
    /// Why nothing can be carried out any more: the work ends.
    type Error: Send;

    /// The result of a call, whether it went well or not, as text for the model.
    ///
    /// # Errors
    /// The world failed, or the work was told to end.
    async fn call(&mut self, tool: &Tool, arguments: &Value) -> Result<String, Self::Error>;
}

/// Validation: whether a result may stand.
pub trait Validation: Send + Sync {
    /// Checks what a model hands over as its result.
    ///
    /// # Errors
    /// Every way in which it breaks its contract.
    fn accept(&self, result: &Value) -> Result<(), Vec<String>>;
}

/// The five stages of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The model is asked.
    Decomposition,
    /// A tool is called.
    ToolCall,
    /// A result is judged.
    Validation,
    /// What happened is remembered.
    MemoryUpdate,
    /// It is looked for a standstill.
    Reflection,
}

/// Sees what the loop does.
pub trait Watch: Send {
    /// A stage starts or ends.
    fn stage(&mut self, turn: u32, stage: Stage, is_end: bool);

    /// A call was refused.
    fn refused(&mut self, refusal: &ToolRefusal);
}

/// Everything that a loop is made of.
pub struct Agent<'a, M, T> {
    /// Decomposition.
    pub mind: M,
    /// The tool call.
    pub toolbox: T,
    /// Validation.
    pub validation: &'a dyn Validation,
    /// Memory.
    pub memory: &'a mut dyn Memory,
    /// Reflection.
    pub reflection: &'a mut dyn Reflection,
    /// Who looks on.
    pub watch: &'a mut dyn Watch,
    /// Who may call what.
    pub table: &'a PhaseTable,
    /// In which task and phase, and as whom. Set by Millrace, never by what a model says.
    pub context: Option<Context>,
}

/// How a loop ended without a result.
#[derive(Debug)]
pub enum Halt<E> {
    /// A limit was reached.
    Limit(Limit),
    /// The world failed.
    World(E),
}

impl<M: Mind, T: Toolbox<Error = M::Error>> Agent<'_, M, T> {
    /// Works until there is a result that satisfies its contract.
    ///
    /// # Errors
    /// A limit, each with its own code, or a failure of the world.
    pub async fn work(&mut self, progress: &mut Progress<'_>) -> Result<Value, Halt<M::Error>> {
        loop {
            let number = progress.turn().map_err(Halt::Limit)?;
            let so_far = self.memory.told();
            self.watch.stage(number, Stage::Decomposition, false);
            let turn = self.mind.turn(&so_far).await.map_err(Halt::World)?;
            self.watch.stage(number, Stage::Decomposition, true);
            let (step, result) = match turn {
                Turn::Done(result) => {
                    self.watch.stage(number, Stage::Validation, false);
                    let accepted = self.validation.accept(&result);
                    self.watch.stage(number, Stage::Validation, true);
                    match accepted {
                        Ok(()) => return Ok(result),
                        Err(errors) => {
                            self.unreadable(progress, json!({"error": "RESULT_INVALID", "errors": errors}))?
                        }
                    }
                }
                Turn::Call { tool, arguments } => self.call(number, progress, &tool, &arguments).await?,
                Turn::Thought(thought) => {
                    progress.readable();
                    let said = "Noted. Call a tool, or hand over your result.".to_owned();
                    (Step::Thought(thought), said)
                }
                Turn::Unreadable(why) => {
                    self.unreadable(progress, json!({"error": "FORMAT", "errors": [why]}))?
                }
            };
            self.watch.stage(number, Stage::MemoryUpdate, false);
            self.memory.remember(number, &step, &result);
            self.watch.stage(number, Stage::MemoryUpdate, true);
            self.watch.stage(number, Stage::Reflection, false);
            let stuck = self.reflection.reflect(step, &result);
            self.watch.stage(number, Stage::Reflection, true);
            if let Some(stuck) = stuck {
                return Err(Halt::Limit(Limit::Stuck(stuck)));
            }
        }
    }

    /// Whether a call is allowed is decided here, and by the table alone.
    async fn call(
        &mut self,
        number: u32,
        progress: &mut Progress<'_>,
        name: &str,
        arguments: &Value,
    ) -> Result<(Step, String), Halt<M::Error>> {
        let step = Step::Call { tool: name.to_owned(), arguments: arguments.clone() };
        let tool = match self.table.authorize(name, self.context.as_ref()) {
            Ok(tool) => tool,
            Err(refusal) => {
                self.watch.refused(&refusal);
                let told = refusal.to_json().to_string();
                progress.refused(refusal).map_err(Halt::Limit)?;
                return Ok((step, told));
            }
        };
        if let Err(errors) = tool.check(arguments) {
            let told = json!({"error": "ARGUMENTS_INVALID", "tool": name, "errors": errors});
            return self.unreadable(progress, told).map(|(_, told)| (step, told));
        }
        progress.readable();
        self.watch.stage(number, Stage::ToolCall, false);
        let result = self.toolbox.call(tool, arguments).await.map_err(Halt::World)?;
        self.watch.stage(number, Stage::ToolCall, true);
        Ok((step, result))
    }

    fn unreadable(&self, progress: &mut Progress<'_>, told: Value) -> Result<(Step, String), Halt<M::Error>> {
        let told = told.to_string();
        progress.unreadable(&told).map_err(Halt::Limit)?;
        Ok((Step::Unreadable, told))
    }
}

#[cfg(test)]
mod tests;
