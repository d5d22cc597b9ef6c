//! S0-4.3: the crew file, and what is said about one that is wrong.

use millrace_router::contracts::Contracts;
use millrace_router::{Crew, RecipeProvider, Role, Router};

use crate::support::CREW;

fn refusal(text: &str) -> String {
    let error = Crew::parse(text, "conf/crew.yaml").unwrap_err();
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        message = format!("{message} {source}");
    }
    assert!(message.starts_with("conf/crew.yaml: "), "{message}");
    message
}

#[test]
fn a_crew_file_is_read() {
    let crew = Crew::parse(CREW, "crew.yaml").unwrap();
    assert_eq!(crew.roles[&Role::Planner].candidates, ["one", "two"]);
    assert_eq!(crew.models["one"].model_id, "model-1");
    assert_eq!(crew.defaults.contract_retries, 3);
    let defaults = CREW.replace("defaults: {contract_retries: 3, timeout: {request_ms: 60000}}", "");
    assert_eq!(Crew::parse(&defaults, "crew.yaml").unwrap().defaults, Crew::default().defaults);
}

#[test]
fn the_built_in_crew_is_the_recipe_for_every_role() {
    let crew = Crew::default();
    for role in [Role::Planner, Role::Implementer, Role::Reviewer] {
        assert_eq!(crew.roles[&role].candidates, ["recipe"]);
    }
}

#[test]
fn every_mistake_names_the_file_and_the_key() {
    for (from, to, named) in [
        ("version: \"3\"", "version: \"9\"", "`version`"),
        ("version: \"3\"", "", "version"),
        ("contract_retries: 3", "contract_retries: 11", "`defaults.contract_retries`"),
        ("contract_retries: 3", "contract_retrys: 3", "contract_retrys"),
        ("contract_retries: 3", "contract_retries: many", "contract_retries"),
        ("request_ms: 60000", "request_ms: 0", "`defaults.timeout.request_ms`"),
        ("input: 3.0e-6", "input: -1", "`models.one.price.input`"),
        ("[one, two]", "[one, three]", "`roles.planner.candidates`"),
        ("[one, two]", "[]", "`roles.planner.candidates`"),
        ("implementer:", "implementor:", "implementor"),
        ("model_id: model-2", "model: model-2", "models.two"),
    ] {
        let message = refusal(&CREW.replace(from, to));
        assert!(message.contains(named), "{to}: {message}");
    }
    refusal("version: [");
}

#[test]
fn a_provider_that_is_not_enabled_is_named() {
    let crew = Crew::parse(CREW, "crew.yaml").unwrap();
    let contracts = Contracts::bundled().unwrap();
    let error = Router::new(crew, contracts, vec![std::sync::Arc::new(RecipeProvider)]).err().unwrap();
    let message = error.to_string();
    assert_eq!(message, "crew.yaml: `models.one.provider`: provider `first` is not enabled here");
}
