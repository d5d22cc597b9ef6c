//! Who may import whom. Dev-dependencies are free: a test may use what it likes.

use super::Violation;

/// A member of the workspace, with what it needs to be built and to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `millrace-worker`.
    pub name: String,
    /// `services/worker`.
    pub folder: String,
    /// Names of normal and build dependencies.
    pub dependencies: Vec<String>,
}

/// The command line and development server: it depends on everything, nothing on it.
const TOP: &str = "millrace";
const TESTKIT: &str = "millrace-testkit";

/// A dependency (a trailing `*` is any ending) and the only packages that may have it.
const ONLY: &[(&str, &[&str])] = &[
    ("async-nats", &["millrace-runtime"]),
    ("backoff", &["millrace-runtime"]),
    ("sqlx", &["millrace-ledger"]),
    ("opentelemetry*", &["millrace-telemetry"]),
    ("tracing-opentelemetry", &["millrace-telemetry"]),
    // The command line is a client; `sources` looks that it serves nothing.
    ("tonic", &["millrace-rpc", TOP]),
    ("tonic-health", &["millrace-rpc"]),
    ("tonic-reflection", &["millrace-rpc"]),
    ("millrace-router", &["millrace-worker", TOP]),
    ("millrace-prompts", &["millrace-worker", TOP]),
    // S0-2.1: models are reached from one crate. It alone speaks HTTPS, and nobody has a provider's SDK.
    ("tokio-rustls", &["millrace-router"]),
    ("rustls-native-certs", &["millrace-router"]),
    ("reqwest*", &[]),
    ("async-openai", &[]),
    ("genai", &[]),
    ("aws-sdk-*", &[]),
    ("google-cloud-*", &[]),
];

/// Crates without I/O, and what would bring it.
const PURE: &[&str] = &["millrace-decider", "millrace-events", "millrace-policy", "millrace-prompts"];
const WITH_IO: &[&str] = &["async-nats", "axum", "hyper", "rustix", "sqlx", "tokio", "tonic"];

/// Checks every package of the workspace.
#[must_use]
pub fn check_dependencies(packages: &[Package]) -> Vec<Violation> {
    let shipped = packages.iter().filter(|package| !package.folder.starts_with("tests/"));
    let shipped = shipped.filter(|package| package.name != TESTKIT);
    shipped
        .flat_map(|package| package.dependencies.iter().filter_map(|found| check(package, found, packages)))
        .collect()
}

fn check(package: &Package, dependency: &str, packages: &[Package]) -> Option<Violation> {
    let rule = broken_rule(package, dependency, packages)?;
    Some(Violation { place: package.folder.clone(), what: format!("depends on {dependency}"), rule })
}

fn broken_rule(package: &Package, dependency: &str, packages: &[Package]) -> Option<&'static str> {
    if dependency == TESTKIT {
        return Some("the test kit is a dev-dependency only");
    }
    if dependency == TOP {
        return Some("nothing depends on the command line");
    }
    if is_service(dependency, packages) && package.name != TOP {
        let rule = if is_service(&package.name, packages) {
            "no service imports another"
        } else {
            "no shared crate knows a service"
        };
        return Some(rule);
    }
    if ONLY
        .iter()
        .any(|(name, allowed)| matches(name, dependency) && !allowed.contains(&package.name.as_str()))
    {
        return Some("this dependency belongs to one crate");
    }
    if PURE.contains(&package.name.as_str()) && WITH_IO.contains(&dependency) {
        return Some("this crate is pure");
    }
    None
}

fn is_service(name: &str, packages: &[Package]) -> bool {
    packages.iter().any(|package| package.name == name && package.folder.starts_with("services/"))
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(name: &str, folder: &str, dependencies: &[&str]) -> Vec<Package> {
        let package = |name: &str, folder: &str, dependencies: &[&str]| Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        };
        vec![
            package("millrace-other", "services/other", &[]),
            package("millrace", "crates/millrace", &["millrace-other", "tonic", "millrace-router"]),
            package("millrace-testkit", "crates/testkit", &["tonic", "opentelemetry-proto"]),
            package("millrace-e2e", "tests/e2e", &["async-nats", "millrace-testkit"]),
            package(name, folder, dependencies),
        ]
    }

    fn rules(name: &str, folder: &str, dependencies: &[&str]) -> Vec<&'static str> {
        check_dependencies(&workspace(name, folder, dependencies))
            .into_iter()
            .map(|found| found.rule)
            .collect()
    }

    #[test]
    fn a_workspace_in_order_is_left_alone() {
        assert_eq!(rules("millrace-runtime", "crates/runtime", &["async-nats", "backoff", "tokio"]), [""; 0]);
        assert_eq!(rules("millrace-worker", "services/worker", &["millrace-router", "tokio"]), [""; 0]);
    }

    #[test]
    fn no_service_imports_another() {
        let found = check_dependencies(&workspace("millrace-worker", "services/worker", &["millrace-other"]));
        let text = found[0].to_string();
        assert_eq!(text, "services/worker: depends on millrace-other (rule: no service imports another)");
    }

    #[test]
    fn no_shared_crate_knows_a_service() {
        let found = rules("millrace-runtime", "crates/runtime", &["millrace-other"]);
        assert_eq!(found, ["no shared crate knows a service"]);
    }

    #[test]
    fn nothing_depends_on_the_command_line_or_ships_the_test_kit() {
        let found = rules("millrace-worker", "services/worker", &["millrace", "millrace-testkit"]);
        assert_eq!(found, ["nothing depends on the command line", "the test kit is a dev-dependency only"]);
    }

    #[test]
    fn what_belongs_to_one_crate_is_imported_by_no_other() {
        for (name, _) in ONLY {
            let dependency = name.replace('*', "_sdk");
            let found = rules("millrace-validator", "services/validator", &[&dependency]);
            assert_eq!(found, ["this dependency belongs to one crate"], "{name}");
        }
    }

    #[test]
    fn a_pure_crate_has_no_io() {
        assert_eq!(rules("millrace-decider", "crates/decider", &["tokio"]), ["this crate is pure"]);
    }
}
