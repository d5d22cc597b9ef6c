//! What may stand in which file. Tests and generated code are apart: their size and literals are free.

use super::scan::{self, Line};
use super::{Package, Violation};

/// One Rust file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `services/worker/src/domain/state.rs`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// Lines of a file, tests not counted. STYLE: past 600 there is always a seam.
const LINES_MAX: usize = 600;

/// What the stream of a log is named after, and the objects that are not logs.
const LOGS: &[&str] = &[
    "INTAKE",
    "OPERATOR",
    "SPEC_REGISTRY",
    "DISPATCHER",
    "WORKER",
    "VALIDATOR",
    "DEPLOYER",
    "FAILURE_ANALYZER",
    "PROJECTOR",
    "DEAD_LETTER",
];
const STORES: &[&str] = &["BLOBS", "LEASES", "TARGETS", "HEALTH"];

/// What code in `domain/` may import beside std.
const PURE_IMPORTS: &[&str] = &["millrace_decider", "millrace_events"];
/// Parsers of text, which are pure too, where specs of several formats are read.
const FORMAT_FOLDER: &str = "services/spec-registry/src/domain/format";
const FORMAT_IMPORTS: &[&str] =
    &["hex", "pulldown_cmark", "serde", "serde_json", "serde_norway", "sha2", "toml"];
/// What reaches the world, the clock, or the impure half of the own crate.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "crate::adapters",
    "crate::effects",
    "crate::ports",
    "crate::config",
    "async fn",
];

/// Where models are reached: hosts and paths of the providers. Only the router's providers say them (S0-2.1).
const MODEL_PATHS: &[&str] = &[
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis",
    "aiplatform.googleapis",
    "bedrock-runtime",
    "/chat/completions",
    "/v1/messages",
    ":generateContent",
    ":rawPredict",
];
const MODEL_FOLDER: &str = "crates/router/src/providers/";
/// How ids of models begin; a digit or a word follows. Only crew files have them (S0-4.2).
const MODEL_IDS: &[&str] = &["gpt-", "claude-", "gemini-", "llama-", "mistral-", "qwen"];

/// Checks every file.
#[must_use]
pub fn check_sources(packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    sources
        .iter()
        .filter(|source| !is_apart(&source.path))
        .flat_map(|source| check(source, packages))
        .collect()
}

/// Generated code, and test modules in files of their own.
fn is_apart(path: &str) -> bool {
    path.contains("/generated/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn check(source: &Source, packages: &[Package]) -> Vec<Violation> {
    let lines = production_lines(&source.text);
    let mut found = Vec::new();
    if lines.len() > LINES_MAX {
        found.push(Violation {
            place: source.path.clone(),
            what: format!("{} lines", lines.len()),
            rule: "a file has at most 600 lines, tests apart",
        });
    }
    let mut report = |index: usize, what: String, rule: &'static str| {
        found.push(Violation { place: format!("{}:{}", source.path, index + 1), what, rule });
    };
    for (index, line) in lines.iter().enumerate() {
        if !source.path.starts_with("crates/events/") {
            for name in subject_literals(&line.text) {
                report(
                    index,
                    format!("the literal {name:?}"),
                    "subjects and streams are named in crates/events only",
                );
            }
        }
        if !is_configuration(&source.path)
            && let Some(url) = hard_coded_url(&line.text)
        {
            report(index, format!("the address {url:?}"), "no hard-coded URLs outside configuration (S2-C4)");
        }
        if !source.path.starts_with("crates/testkit/") {
            if let Some(place) = MODEL_PATHS.iter().find(|place| line.text.contains(**place))
                && !source.path.starts_with(MODEL_FOLDER)
            {
                report(
                    index,
                    format!("the literal {place:?}"),
                    "only the router's providers reach models (S0-2.1)",
                );
            }
            if let Some(id) = MODEL_IDS.iter().find(|id| names_model(&line.text, id)) {
                report(index, format!("the literal {id:?}"), "models are named in crew files only (S0-4.2)");
            }
        }
        if is_domain(&source.path)
            && let Some(import) = impure_import(source, line, packages)
        {
            report(
                index,
                format!("uses {import}"),
                "domain/ imports decider, events and std, and does no I/O",
            );
        }
        if !source.path.starts_with("crates/rpc/")
            && !source.path.starts_with("crates/testkit/")
            && line.code.contains("transport::Server")
        {
            report(index, "uses tonic's server".to_owned(), "only rpc serves gRPC");
        }
    }
    found
}

/// The lines before the tests at the bottom.
fn production_lines(text: &str) -> Vec<Line> {
    let mut lines = scan::lines(text);
    let is_tests = |at: usize| {
        let Some(after) = lines[at].code.trim_start().strip_prefix("#[cfg(test)]") else {
            return false;
        };
        let following = lines[at + 1..].iter().map(|line| line.code.trim());
        std::iter::once(after.trim())
            .chain(following)
            .find(|code| !code.is_empty() && !is_attribute_part(code))
            .is_some_and(|code| code.starts_with("mod "))
    };
    if let Some(end) = (0..lines.len()).find(|&index| is_tests(index)) {
        lines.truncate(end);
    }
    if lines.last().is_some_and(|line| *line == Line::default()) {
        lines.pop();
    }
    lines
}

/// A line of an attribute, which may go over several.
fn is_attribute_part(code: &str) -> bool {
    code.starts_with(['#', ')', '"']) || code.starts_with("clippy::") || code.starts_with("reason")
}

/// Names of streams and stores, and the beginnings of subjects, in the text of literals.
fn subject_literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("MILLRACE_") {
        let end = |character: char| {
            !character.is_ascii_uppercase() && !character.is_ascii_digit() && character != '_'
        };
        let name = text[at..].split(end).next().unwrap_or_default();
        let object = &name["MILLRACE_".len()..];
        let is_log = LOGS.iter().any(|log| {
            let after = object.strip_prefix(log).and_then(|rest| rest.strip_prefix('_'));
            after.is_some_and(|rest| rest == "TIMERS" || rest.chars().all(|digit| digit.is_ascii_digit()))
        });
        if is_log || STORES.contains(&object) {
            found.push(name.to_owned());
        }
    }
    for (at, _) in text.match_indices("millrace.") {
        let first = text[at + "millrace.".len()..].split('.').next().unwrap_or_default();
        let followed = text[at + "millrace.".len() + first.len()..].starts_with('.');
        let first = first.replace('-', "_").to_uppercase();
        if followed
            && (LOGS.contains(&first.as_str()) || STORES.contains(&first.as_str()) || first.starts_with('{'))
        {
            found.push(text[at..].split(' ').next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// The beginning of a model's id, at the beginning of a word, with a version behind it somewhere.
fn names_model(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let word = text[at + id.len()..].split([' ', ',', '"', '`']).next().unwrap_or_default();
        before.is_none_or(|character| !character.is_alphanumeric())
            && word.contains(|c: char| c.is_ascii_digit())
    })
}

/// A scheme with a host behind it; one in front of a placeholder (`{address}`, `HOST:PORT`) names none.
fn hard_coded_url(text: &str) -> Option<&str> {
    let schemes = ["http://", "https://"];
    schemes.into_iter().flat_map(|scheme| text.match_indices(scheme)).find_map(|(at, scheme)| {
        let host = text[at + scheme.len()..].chars().next();
        let is_host =
            host.is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit() || first == '[');
        is_host.then(|| text[at..].split(' ').next().unwrap_or_default())
    })
}

fn is_configuration(path: &str) -> bool {
    path.ends_with("/config.rs") || path.contains("/config/")
}

fn is_domain(path: &str) -> bool {
    path.starts_with("services/") && (path.contains("/src/domain/") || path.ends_with("/src/domain.rs"))
}

fn impure_import(source: &Source, line: &Line, packages: &[Package]) -> Option<String> {
    if let Some(path) = IMPURE_PATHS.iter().find(|path| contains_path(&line.code, path)) {
        return Some((*path).to_owned());
    }
    let package = packages.iter().find(|package| source.path.starts_with(&format!("{}/", package.folder)))?;
    let reads_formats = source.path.starts_with(FORMAT_FOLDER);
    let allowed = |name: &&String| {
        PURE_IMPORTS.contains(&name.as_str()) || (reads_formats && FORMAT_IMPORTS.contains(&name.as_str()))
    };
    let crates: Vec<String> = package.dependencies.iter().map(|name| name.replace('-', "_")).collect();
    crates.iter().filter(|name| !allowed(name)).find(|name| imports(&line.code, name)).cloned()
}

fn imports(code: &str, name: &str) -> bool {
    contains_path(code, &format!("{name}::")) || code.trim_start().starts_with(&format!("use {name};"))
}

/// Whether `path` stands in the code as a path of its own and not as the end of a longer word.
fn contains_path(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|character| !character.is_alphanumeric() && character != '_' && character != ':')
            || path.ends_with("::now")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let package = Package {
            name: "millrace-worker".to_owned(),
            folder: "services/worker".to_owned(),
            dependencies: vec!["tokio".to_owned(), "serde".to_owned(), "millrace-events".to_owned()],
        };
        let registry = Package {
            name: "millrace-spec-registry".to_owned(),
            folder: "services/spec-registry".to_owned(),
            ..package.clone()
        };
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check_sources(&[package, registry], &[source]).iter().map(ToString::to_string).collect()
    }

    const ANYWHERE: &str = "services/worker/src/adapters/git.rs";
    const DOMAIN: &str = "services/worker/src/domain/decide.rs";

    #[test]
    fn a_long_file_is_found_and_tests_do_not_count() {
        let lines = |count: usize| "fn f() {}\n".repeat(count);
        assert_eq!(found(ANYWHERE, &lines(600)), [""; 0]);
        assert_eq!(
            found(ANYWHERE, &lines(601)),
            [format!("{ANYWHERE}: 601 lines (rule: a file has at most 600 lines, tests apart)")]
        );
        let tests = format!(
            "{}\n#[cfg(test)]\n#[allow(\n    clippy::panic,\n)]\nmod tests {{\n{}}}\n",
            lines(500),
            lines(500)
        );
        assert_eq!(found(ANYWHERE, &tests), [""; 0]);
        assert_eq!(found("crates/events/src/generated/v1.rs", &lines(5000)), [""; 0]);
    }

    #[test]
    fn subjects_and_streams_are_named_in_the_catalogue_only() {
        for literal in [
            "MILLRACE_WORKER_0",
            "MILLRACE_SPEC_REGISTRY_TIMERS",
            "MILLRACE_DISPATCHER_{partition}",
            "MILLRACE_BLOBS",
            "millrace.worker.0.VTID-01213",
            "millrace.failure-analyzer.>",
            "millrace.{service}.0",
        ] {
            let text = format!("let name = \"{literal}\";");
            assert_eq!(found(ANYWHERE, &text).len(), 1, "{literal}");
            assert_eq!(found("crates/events/src/catalogue.rs", &text), [""; 0], "{literal}");
        }
        for fine in [
            "MILLRACE_WORKER_RECIPE",
            "MILLRACE_HEALTH_LISTEN",
            "millrace.v1.LedgerQuery",
            "millrace.task.id",
        ] {
            assert_eq!(found(ANYWHERE, &format!("let name = \"{fine}\";")), [""; 0], "{fine}");
        }
        assert_eq!(found(ANYWHERE, "// as in \"MILLRACE_WORKER_0\""), [""; 0]);
    }

    #[test]
    fn s2_c4_no_hard_coded_url_outside_configuration() {
        let text = "let url = \"https://forge.example/api\";";
        let expected = format!(
            "{ANYWHERE}:1: the address \"https://forge.example/api\" (rule: no hard-coded URLs outside configuration (S2-C4))"
        );
        assert_eq!(found(ANYWHERE, text), [expected]);
        assert_eq!(found(ANYWHERE, "connect(\"http://127.0.0.1:8080\");").len(), 1);
        assert_eq!(found("services/worker/src/config.rs", text), [""; 0]);
        assert_eq!(
            found(ANYWHERE, "/// https://www.rfc-editor.org\nlet url = format!(\"http://{address}\");"),
            [""; 0]
        );
        for fine in ["url.starts_with(\"https://\")", "say(\"as in http://HOST:PORT\")"] {
            assert_eq!(found(ANYWHERE, fine), [""; 0], "{fine}");
        }
        assert_eq!(found(ANYWHERE, &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}\n")), [""; 0]);
    }

    #[test]
    fn s0_2_1_s0_4_2_models_are_reached_in_one_place_and_named_in_none() {
        let path = "post(format!(\"{base}/chat/completions\"));";
        assert_eq!(
            found(ANYWHERE, path),
            [format!(
                "{ANYWHERE}:1: the literal \"/chat/completions\" (rule: only the router's providers reach models (S0-2.1))"
            )]
        );
        assert_eq!(found("crates/router/src/router.rs", path).len(), 1);
        assert_eq!(found("crates/router/src/providers/config.rs", path), [""; 0]);
        for id in ["gpt-5.4", "claude-sonnet-4-5", "us.claude-x1", "qwen3-coder"] {
            for place in [ANYWHERE, "crates/router/src/providers/config.rs"] {
                let text = format!("let model = \"{id}\";");
                assert!(found(place, &text)[0].contains("crew files only"), "{id}");
            }
        }
        for fine in [
            "let name = \"claude-code\";",
            "// \"gpt-5\"",
            "#[cfg(test)]\nmod tests {\nlet m = \"gpt-5\";\n}",
        ] {
            assert_eq!(found(ANYWHERE, fine), [""; 0], "{fine}");
        }
    }

    #[test]
    fn domain_code_is_pure() {
        let fine = "use millrace_events::Event;\nuse std::collections::BTreeMap;\nuse super::state::State;\nuse crate::domain::x;";
        assert_eq!(found(DOMAIN, fine), [""; 0]);
        for impure in [
            "use tokio::fs;",
            "use serde::Serialize;",
            "let x = tokio::time::sleep(y);",
            "let f = std::fs::read(p);",
            "let t = std::time::SystemTime::now();",
            "use crate::adapters::git;",
            "pub async fn decide() {}",
        ] {
            assert_eq!(found(DOMAIN, impure).len(), 1, "{impure}");
            assert_eq!(found(ANYWHERE, impure), [""; 0], "{impure}");
        }
        assert_eq!(found("services/worker/src/domain.rs", "use tokio::fs;").len(), 1);
    }

    #[test]
    fn parsers_are_allowed_where_formats_are_read() {
        let text = "use serde::Deserialize;";
        assert_eq!(found("services/spec-registry/src/domain/format/front_matter.rs", text), [""; 0]);
        assert_eq!(found("services/spec-registry/src/domain/decide.rs", text).len(), 1);
    }

    #[test]
    fn only_rpc_serves_grpc() {
        let text = "tonic::transport::Server::builder()";
        assert_eq!(found("crates/millrace/src/dev.rs", text).len(), 1);
        assert_eq!(found("crates/rpc/src/serve.rs", text), [""; 0]);
    }
}
