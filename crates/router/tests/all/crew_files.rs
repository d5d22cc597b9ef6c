//! S0-3, S0-4.3, S0-5.4: what is refused of a crew file, the older shape, several files, and files that change.

use std::path::Path;

use millrace_router::contracts::Contracts;
use millrace_router::{Crew, CrewError, Date, Reload, RetryOn, Role, Router, Source, day_of};
use tokio_util::sync::CancellationToken;

use crate::support::{Scripted, ask};

const CREW: &str = r#"
version: "3"
defaults: {retry: {attempts: 3}, budget: {per_task_usd: 1}}
models:
  one: {provider: anthropic, model_id: m-1, key_env: THE_KEY, price: {input: 1.0e-6, output: 2.0e-6, as_of: 2026-08-01}}
  two: {provider: openai_compatible, model_id: m-2, base_url: "http://127.0.0.1:1/v1"}
  three: {provider: openai_compatible, model_id: m-3, base_url_env: THREE_URL}
roles:
  planner: {candidates: [one, two], policy: weighted, weights: {one: 3}}
  worker: {candidates: [one]}
  reviewer: {candidates: [two], must_differ_from: worker}
fallbacks: {on_context_window: {one: three}, lightweight: three}
"#;

const OLDER: &str = r#"
provider_policy:
  version: 2
  models:
    claude: {provider: anthropic, model_id: c-1, fallback_model_id: c-0}
    gemini: {provider: gemini, model_id: g-1}
  defaults: {retry: {on: [429, 500, 502, 503, 504, connection_reset], attempts: 5, backoff: exponential, base_ms: 200, max_ms: 3000, jitter: full}}
  roles:
    planner: {primary: claude, fallback: gemini}
    worker: {primary: gemini, fallback: claude}
    validator: {primary: claude}
    research: {primary: gemini}
  fallbacks: {gemini: claude}
  reporting: {required_fields: [model, cost]}
"#;

fn said(error: &CrewError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error} {source}")
}

#[test]
fn every_mistake_names_the_file_the_key_and_what_to_do() {
    Crew::parse(CREW, "conf/crew.yaml").unwrap();
    for (from, to, named) in [
        ("key_env: THE_KEY", "key: sk-live-123", "`models.one.key`: keys never stand in this file"),
        ("key_env: THE_KEY", "api_key: sk-live-123", "`models.one.api_key`"),
        ("key_env: THE_KEY", "key_env: sk-live-123", "`models.one.key_env`: must be the name"),
        ("/v1\"", "/v1?key=sk-live-123\"", "`models.two.base_url`"),
        (
            "price: {input: 1.0e-6, output: 2.0e-6, as_of: 2026-08-01}",
            "supports: {}",
            "`models.one.price`: is missing",
        ),
        ("as_of: 2026-08-01", "as_of: 2026-02-31", "models.one.price"),
        ("2.0e-6,", "2.0,", "`models.one.price.output`"),
        ("attempts: 3", "attempts: 0", "`defaults.retry.attempts`"),
        ("attempts: 3", "on: [404]", "`defaults.retry.on`: 404 does not pass"),
        ("per_task_usd: 1", "per_task_usd: -1", "`defaults.budget.per_task_usd`"),
        ("per_task_usd: 1", "per_taks_usd: 1", "per_taks_usd"),
        ("policy: weighted", "policy: best", "best"),
        ("{one: 3}", "{three: 3}", "`roles.planner.weights.three`"),
        (
            "planner: {candidates: [one, two]",
            "planner: {candidates: [one, four]",
            "these are: one, three, two",
        ),
        ("planner: {candidates: [one, two]", "planner: {candidates: [one, one]", "there twice"),
        (
            "worker: {candidates: [one]}",
            "worker: {candidates: [two]}",
            "`roles.reviewer.must_differ_from`: no candidate can",
        ),
        (
            "worker: {candidates: [one]}",
            "worker: {candidates: [one]}\n  implementer: {candidates: [one]}",
            "there twice",
        ),
        ("must_differ_from: worker", "must_differ_from: painter", "`roles.reviewer.must_differ_from`"),
        (
            "{one: three}, light",
            "{one: three, three: one}, light",
            "goes round in a circle: one → three → one",
        ),
        ("{one: three}, light", "{one: four}, light", "`fallbacks.on_context_window.one`"),
        ("lightweight: three", "lightweight: four", "`fallbacks.lightweight`"),
        ("  two: {", "  t.w o: {", "`models.t.w o`"),
    ] {
        let text = CREW.replace(from, to);
        assert_ne!(text, CREW, "{from}");
        let message = said(&Crew::parse(&text, "conf/crew.yaml").unwrap_err());
        assert!(message.starts_with("conf/crew.yaml: ") && message.contains(named), "{to}: {message}");
        assert!(!message.contains("sk-live"), "{message}");
    }
}

#[test]
fn s0_5_4_a_contract_or_provider_that_does_not_exist_is_refused() {
    let contracts = Contracts::bundled().unwrap();
    let crew = Crew::parse(&CREW.replace("worker: {", "worker: {contract: poem, "), "crew.yaml").unwrap();
    let message = crew.check_contracts(&contracts).unwrap_err().to_string();
    assert!(message.contains("`roles.implementer.contract`: there is no contract `poem`"), "{message}");
    let crew = Crew::parse(&CREW.replace("provider: anthropic", "provider: acme"), "crew.yaml").unwrap();
    let message = Router::new(crew, contracts, Vec::new()).err().unwrap().to_string();
    assert!(message.contains("`models.one.provider`: provider `acme` is not enabled here"), "{message}");
}

#[test]
fn a_price_older_than_ninety_days_warns() {
    let crew = Crew::parse(CREW, "crew.yaml").unwrap();
    let day = |day: i8| Date::constant(2026, 10, day);
    assert_eq!(crew.warnings(day(30)), Vec::<String>::new(), "90 days");
    let warnings = crew.warnings(day(31));
    assert!(warnings[0].contains("`models.one.price.as_of`: the price is 91 days old"), "{warnings:?}");
    assert_eq!(day_of(20_777 * 86_400_000_000 + 1), Date::constant(2026, 11, 20));
}

#[test]
fn the_older_shape_is_read_into_the_newer_one() {
    let crew = Crew::parse(OLDER, "providers.yaml").unwrap();
    assert_eq!(crew.roles[&Role::Planner].candidates, ["claude", "claude_fallback", "gemini"]);
    assert_eq!(crew.roles[&Role::Implementer].candidates, ["gemini", "claude", "claude_fallback"]);
    assert_eq!(crew.roles[&Role::Reviewer].candidates, ["claude", "claude_fallback"]);
    assert_eq!(crew.models["claude_fallback"].model_id, "c-0");
    assert_eq!((crew.defaults.retry.attempts, crew.defaults.retry.on[0]), (5, RetryOn::Status(429)));
    assert!(crew.models["claude"].price.unwrap().output > 0.0, "budgets hold without prices too");
    let warnings = crew.warnings(Date::constant(2026, 1, 1)).join("\n");
    assert!(warnings.contains("roles.research`: nothing asks for this role"), "{warnings}");
    assert!(warnings.contains("models.gemini.price` is missing"), "{warnings}");
    for (from, to, named) in [
        ("primary: claude, f", "primary: claud, f", "`claud`"),
        ("reporting:", "reports:", "reports"),
        ("model_id: g-1", "model_id: g-1, colour: red", "provider_policy.models.gemini"),
        ("{gemini: claude}", "{gemini: nobody}", "provider_policy.fallbacks.gemini"),
    ] {
        let message = said(&Crew::parse(&OLDER.replacen(from, to, 1), "providers.yaml").unwrap_err());
        assert!(message.starts_with("providers.yaml: ") && message.contains(named), "{to}: {message}");
    }
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn s0_3_two_files_that_disagree_are_both_named_with_the_roles() {
    let folder = tempfile::tempdir().unwrap();
    let crew = write(folder.path(), "crew.yaml", CREW);
    write(folder.path(), "values.yaml", "replicas: {{ .Values.replicas }}");
    write(folder.path(), "notes.yml", "roles: [one, two]");
    let (_, read) = Source::open(&crew).unwrap();
    assert_eq!(read, Source::open(folder.path()).unwrap().1, "a folder with one");

    let same = write(folder.path(), "copy.yml", CREW);
    Source::open(&crew).unwrap();
    std::fs::remove_file(same).unwrap();

    let other = CREW.replace("worker: {candidates: [one]}", "worker: {candidates: [one, two]}");
    let other = other
        .replace("reviewer: {candidates: [two], must_differ_from: worker}", "reviewer: {candidates: [two]}");
    for (name, text, role) in [
        ("models.yml", other.as_str(), "implementer (anthropic/m-1 against"),
        ("providers.yaml", OLDER, "planner ("),
    ] {
        let beside = write(folder.path(), name, text);
        for path in [crew.as_path(), folder.path()] {
            let message = Source::open(path).unwrap_err().to_string();
            for named in ["crew.yaml", name, role, "delete one of them"] {
                assert!(message.contains(named), "{message}");
            }
        }
        std::fs::remove_file(beside).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(said(&Source::open(empty.path()).unwrap_err()).contains("write crew.yaml"));
    assert!(Source::open(&empty.path().join("none.yaml")).is_err());
}

#[tokio::test]
async fn s0_4_3_a_changed_file_counts_from_the_next_question_on_and_a_broken_one_never() {
    const PLAIN: &str = "version: \"3\"\nmodels: {m: {provider: first, model_id: before}}\nroles: {planner: {candidates: [m]}}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "crew.yaml", PLAIN);
    let (mut source, crew) = Source::open(&path).unwrap();
    let model = Scripted::good("first");
    let router = Router::new(crew, Contracts::bundled().unwrap(), vec![model.clone()]).unwrap();
    let (question, cancel) = (ask(Role::Planner), CancellationToken::new());
    let before = router.ask(&question, &cancel).await.unwrap();
    assert!(matches!(source.look(), Reload::Unchanged));

    write(folder.path(), "crew.yaml", &PLAIN.replace("before", "after"));
    let Reload::Changed(crew) = source.look() else { panic!("it has changed") };
    let sha256 = crew.sha256().to_owned();
    router.replace(*crew).unwrap();
    let after = router.ask(&question, &cancel).await.unwrap();
    assert_eq!((before.calls[0].model.as_str(), after.calls[0].model.as_str()), ("before", "after"));
    assert_ne!(before.calls[0].crew_sha256, after.calls[0].crew_sha256);
    assert_eq!(after.calls[0].crew_sha256, sha256);

    write(folder.path(), "crew.yaml", "version: [");
    assert!(matches!(source.look(), Reload::Broken(CrewError::Syntax { .. })));
    assert!(matches!(source.look(), Reload::Unchanged), "said once");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(source.look(), Reload::Broken(CrewError::Io { .. })));
    write(folder.path(), "crew.yaml", &PLAIN.replace("first", "nobody"));
    let Reload::Changed(crew) = source.look() else { panic!("it is there again") };
    assert!(router.replace(*crew).is_err());
    assert_eq!(router.crew().sha256(), sha256, "what cannot be used changes nothing");
}
