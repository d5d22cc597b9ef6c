//! Who may call which tool when. Nothing that a model reads or writes has a say in it. S4-SP2, S4-TH5, S4-IMP-25.

use millrace_events::Code;
use millrace_events::v1::Phase;
use serde_json::{Value, json};

use super::super::phase::name;
use super::super::table::PhaseTable;
use super::registry::{Capability, Persona, Tool};

/// In which task and phase, and by whom, a tool is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The task.
    pub task: String,
    /// The phase.
    pub phase: Phase,
    /// Who calls.
    pub persona: Persona,
}

/// A call that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: `{tool}` may not be called: {reason}", code.name())]
pub struct ToolRefusal {
    /// `TOOL_OUT_OF_PHASE` or `TOOL_NOT_ALLOWED`.
    pub code: Code,
    /// What was called.
    pub tool: String,
    /// In which phase; `None`: nobody said.
    pub phase: Option<Phase>,
    /// Why not, in a sentence.
    pub reason: String,
    /// What may be called instead.
    pub allowed: Vec<String>,
}

impl PhaseTable {
    /// Whether a call is allowed. Without a context only tools that read are.
    ///
    /// # Errors
    /// Why not, with what is allowed.
    pub fn authorize(&self, tool: &str, context: Option<&Context>) -> Result<&Tool, ToolRefusal> {
        let refuse = |code, reason: &str| ToolRefusal {
            code,
            tool: tool.chars().take(64).collect(),
            phase: context.map(|context| context.phase),
            reason: reason.to_owned(),
            allowed: self.allowed(context),
        };
        let Some(found) = self.registry().get(tool) else {
            return Err(refuse(Code::ToolNotAllowed, "there is no such tool"));
        };
        if self.allows(found, context) {
            return Ok(found);
        }
        let Some(context) = context else {
            return Err(refuse(
                Code::ToolNotAllowed,
                "without a task and a phase only tools that read answer",
            ));
        };
        let in_phase = self.rule(context.phase).is_some_and(|rule| rule.tools.contains(tool));
        if in_phase {
            Err(refuse(Code::ToolNotAllowed, "this persona does not have it"))
        } else {
            Err(refuse(Code::ToolOutOfPhase, "this phase does not allow it"))
        }
    }

    /// The rule behind [`Self::authorize`] and `list_tools`.
    pub(super) fn allows(&self, tool: &Tool, context: Option<&Context>) -> bool {
        match context {
            None => tool.rule.capability == Capability::Read,
            Some(context) => {
                let in_phase = self.rule(context.phase).is_some_and(|rule| rule.tools.contains(&tool.name));
                in_phase && self.registry().has(&context.persona, &tool.name)
            }
        }
    }

    fn allowed(&self, context: Option<&Context>) -> Vec<String> {
        let allowed = self.registry().all().filter(|tool| self.allows(tool, context));
        allowed.map(|tool| tool.name.clone()).collect()
    }
}

impl ToolRefusal {
    /// As the caller gets it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "error": self.code.name(),
            "tool": self.tool,
            "phase": self.phase.map(name),
            "allowed": self.allowed,
            "reason": self.reason,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::process::ALL;

    fn table() -> PhaseTable {
        PhaseTable::bundled().unwrap()
    }

    fn context(role: &str, phase: Phase) -> Context {
        let persona = Persona { role: role.to_owned(), only: None };
        Context { task: "VTID-01213".to_owned(), phase, persona }
    }

    #[test]
    fn s4_sp2_s4_ver2_a_commit_in_plan_is_refused_with_a_structured_error() {
        let table = table();
        let context = context("implementer", Phase::Plan);
        let refusal = table.authorize("git_commit", Some(&context)).unwrap_err();
        assert_eq!(
            refusal.to_json(),
            json!({
                "error": "TOOL_OUT_OF_PHASE",
                "tool": "git_commit",
                "phase": "PLAN",
                "allowed": ["git_log", "list", "read", "search"],
                "reason": "this phase does not allow it",
            })
        );
    }

    #[test]
    fn s4_th5_without_a_context_only_reading_answers() {
        let table = table();
        for (tool, answers) in [
            ("read", true),
            ("git_diff", true),
            ("write", false),
            ("run", false),
            ("open_pull_request", false),
        ] {
            match table.authorize(tool, None) {
                Ok(_) => assert!(answers, "{tool}"),
                Err(refusal) => {
                    assert!(!answers, "{tool}");
                    assert_eq!(
                        (refusal.code, refusal.to_json()["phase"].clone()),
                        (Code::ToolNotAllowed, Value::Null)
                    );
                }
            }
        }
    }

    #[test]
    fn s4_imp_25_a_tool_outside_the_persona_s_list_is_refused_though_the_phase_allows_it() {
        let table = table();
        let mut one = context("implementer", Phase::Implement);
        table.authorize("run", Some(&one)).unwrap();
        one.persona.only = Some(["read".to_owned(), "open_pull_request".to_owned()].into());
        let refusal = table.authorize("run", Some(&one)).unwrap_err();
        assert_eq!((refusal.code, refusal.allowed), (Code::ToolNotAllowed, vec!["read".to_owned()]));
        // It takes away and never adds.
        assert_eq!(table.authorize("open_pull_request", Some(&one)).unwrap_err().code, Code::ToolOutOfPhase);
        for role in ["reviewer", "planner", "nobody"] {
            let refusal = table.authorize("write", Some(&context(role, Phase::Implement))).unwrap_err();
            assert_eq!(refusal.code, Code::ToolNotAllowed, "{role}");
        }
        let unknown = table.authorize("shell", Some(&context("implementer", Phase::Implement))).unwrap_err();
        assert_eq!(unknown.code, Code::ToolNotAllowed);
    }

    /// S3-4.2c: discovery at run time, and what is listed is what is allowed.
    #[test]
    fn s3_4_2c_tools_are_listed_by_phase_and_persona_with_their_metadata() {
        let table = table();
        for phase in ALL {
            for role in ["planner", "implementer", "reviewer"] {
                let context = context(role, phase);
                let listed = table.list_tools(phase, &context.persona);
                for tool in table.registry().all() {
                    let is_listed = listed.iter().any(|listed| listed.name == tool.name);
                    let allowed = table.authorize(&tool.name, Some(&context)).is_ok();
                    assert_eq!(is_listed, allowed, "{role} {phase:?} {}", tool.name);
                }
                for tool in &listed {
                    let shown = tool.shown();
                    assert!(!shown["safety"].as_array().unwrap().is_empty());
                    assert_eq!(shown["arguments"]["type"], "object", "{}", tool.name);
                    let writes = tool.rule.capability != Capability::Read;
                    assert!(!writes || role == "implementer", "{role} may {}", tool.name);
                }
            }
        }
        let only_pr = |phase: &Phase| {
            table.authorize("open_pull_request", Some(&context("implementer", *phase))).is_ok()
        };
        assert_eq!(ALL.into_iter().filter(only_pr).collect::<Vec<_>>(), [Phase::Pr]);
    }

    #[test]
    fn arguments_are_checked_by_schema() {
        let table = table();
        let write = table.registry().get("write").unwrap();
        write.check(&json!({"path": "a", "content": ""})).unwrap();
        for wrong in [
            json!({"path": "a"}),
            json!({"path": 1, "content": ""}),
            json!([]),
            json!({"path": "a", "content": "", "mode": 7}),
        ] {
            assert!(!write.check(&wrong).unwrap_err().is_empty(), "{wrong}");
        }
    }
}
