//! The recipe: a plan that a person wrote into the spec, answered as if a model had thought of it.
//!
//! A YAML document with `plan:` (the planner's answer) and `change:` (the implementer's). A list under either
//! is a series of answers: the first for the first call, the next for each re-prompt, the last one again
//! and again. Whatever is there is the answer, valid or not; the contract judges it like any other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::provider::{
    Author, ErrorClass, Finish, ModelError, ModelRequest, ModelResponse, Provider, Role, Usage,
};

/// Answers from the recipe in the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecipeProvider;

#[async_trait]
impl Provider for RecipeProvider {
    fn name(&self) -> &str {
        "recipe"
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        let Some(recipe) = &request.recipe else {
            return Err(refused(
                "the spec has no plan, and only plans written in specs are configured: add a fenced block \
                 with the info string `millrace` to the spec, or a file <spec name>.plan.yaml beside it",
            ));
        };
        let section = match request.role {
            Role::Planner => "plan",
            Role::Implementer => "change",
            Role::Reviewer => return Err(refused("a recipe has no answer for the reviewer")),
        };
        let earlier = request.prompt.iter().filter(|message| message.author == Author::Assistant).count();
        Ok(ModelResponse {
            text: answer(recipe, section, earlier),
            usage: Usage::default(),
            finish: Finish::Complete,
            finish_word: String::new(),
            request_id: String::new(),
        })
    }
}

/// The answer as text. A recipe that cannot be read answers in prose, as a confused model would; the contract
/// refuses that and quotes it.
fn answer(recipe: &str, section: &str, earlier: usize) -> String {
    let mut sections: BTreeMap<String, Value> = match serde_norway::from_str(recipe) {
        Ok(sections) => sections,
        Err(error) => return format!("The recipe cannot be read as YAML: {error}"),
    };
    if let Some(unknown) = sections.keys().find(|key| *key != "plan" && *key != "change") {
        return format!("The recipe has an unknown key `{unknown}`; it may have `plan` and `change`.");
    }
    match sections.remove(section) {
        None => format!("The recipe has no `{section}`."),
        Some(Value::Array(answers)) => match answers.get(earlier).or(answers.last()) {
            Some(answer) => answer.to_string(),
            None => format!("The recipe's `{section}` is an empty list."),
        },
        Some(answer) => answer.to_string(),
    }
}

/// Asking again brings nothing else until a person has changed the spec.
fn refused(message: &str) -> ModelError {
    ModelError::new(ErrorClass::ContentPolicy, message)
}
