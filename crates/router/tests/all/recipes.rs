//! The recipe takes exactly the way of any model: same contracts, same re-prompts, same refusal.

use std::sync::Arc;

use millrace_router::contracts::Contracts;
use millrace_router::{
    Answer, AskError, Crew, ErrorClass, ModelError, RecipeProvider, Role, Router, Verdict,
};
use tokio_util::sync::CancellationToken;

use crate::support::{ask, good_change, good_plan};

const GOOD: &str = r#"
plan:
  rollback_plan: revert the commit
  idempotency_key: VTID-01213-red
  risk_level: low
  steps: [edit the style sheet]
change:
  edits:
    - {path: site/style.css, action: replace, find: blue, replace: red}
    - {path: .gitignore, action: write, content: ""}
    - {path: old.txt, action: delete}
  commands: [make check]
  dry_run: false
  pr_required: true
  rollback_commands: []
"#;

async fn cook(role: Role, recipe: Option<&str>) -> Result<Answer, AskError> {
    let contracts = Contracts::bundled().unwrap();
    let router = Router::new(Crew::default(), contracts, vec![Arc::new(RecipeProvider)]).unwrap();
    let mut ask = ask(role);
    ask.recipe = recipe.map(str::to_owned);
    router.ask(&ask, &CancellationToken::new()).await
}

#[tokio::test]
async fn plan_and_change_are_the_answers_of_planner_and_implementer() {
    let plan = cook(Role::Planner, Some(GOOD)).await.unwrap();
    assert_eq!((plan.value, plan.violations), (good_plan(), 0));
    let change = cook(Role::Implementer, Some(GOOD)).await.unwrap();
    assert_eq!((change.value, change.violations), (good_change(), 0));
    let call = &change.calls[0];
    assert_eq!((call.provider.as_str(), call.cost_micro_usd, call.repaired), ("recipe", 0, false));
}

#[tokio::test]
async fn a_plan_that_breaks_its_contract_is_refused_after_one_plus_three_calls() {
    let recipe = GOOD.replace("  risk_level: low\n", "");
    let error = cook(Role::Planner, Some(&recipe)).await.unwrap_err();
    assert_eq!(error.calls().len(), 4);
    let AskError::ContractViolation { errors, .. } = error else { panic!("{error}") };
    assert_eq!(errors[0].pointer, "/risk_level");
}

#[tokio::test]
async fn a_list_is_a_series_of_answers() {
    let recipe =
        "plan:\n- {}\n- nonsense\n- {rollback_plan: r, idempotency_key: k, risk_level: low, steps: [s]}\n";
    let answer = cook(Role::Planner, Some(recipe)).await.unwrap();
    assert_eq!(answer.violations, 2);
    assert_eq!(
        answer.calls.iter().map(|call| call.verdict).collect::<Vec<_>>(),
        [Verdict::ContractViolated, Verdict::ContractViolated, Verdict::Accepted]
    );
    let error = cook(Role::Planner, Some("plan: [{}, {steps: []}]")).await.unwrap_err();
    let answers: Vec<_> = error.calls().iter().map(|call| call.answer.clone().unwrap()).collect();
    assert_eq!(answers, ["{}", r#"{"steps":[]}"#, r#"{"steps":[]}"#, r#"{"steps":[]}"#]);
}

#[tokio::test]
async fn no_recipe_is_a_refusal_that_says_how_to_write_one() {
    let error = cook(Role::Planner, None).await.unwrap_err();
    let AskError::Model {
        source: ModelError { class: ErrorClass::ContentPolicy, message, .. }, trail, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(message.contains(".plan.yaml"), "{message}");
    assert_eq!(trail.calls.len(), 1);
}

#[tokio::test]
async fn a_recipe_that_cannot_be_read_is_refused_by_the_contract_with_the_reason() {
    for (recipe, reason) in [
        ("plan: [1", "cannot be read as YAML"),
        ("plans: {}", "unknown key `plans`"),
        ("change: {}", "has no `plan`"),
        ("plan: []", "empty list"),
        ("just words", "cannot be read as YAML"),
    ] {
        let error = cook(Role::Planner, Some(recipe)).await.unwrap_err();
        assert_eq!(error.calls().len(), 4, "{recipe}");
        assert!(matches!(error, AskError::ContractViolation { .. }));
        assert!(error.to_string().contains(reason), "{recipe}: {error}");
    }
}
