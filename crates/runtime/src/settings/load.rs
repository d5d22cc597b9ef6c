//! Puts the sources together and checks the result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use millrace_events::Key;
use toml::{Table, Value};

use super::environment::{ENVIRONMENT, Kind, NOT_SETTINGS};
use super::{ForgeKind, Settings};

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Flags, as setting paths with values; they win over everything.
    pub flags: Vec<(String, Value)>,
}

/// A configuration that cannot be used. The text names the setting and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration: {0}")]
pub struct SettingsError(String);

impl SettingsError {
    /// A problem in a sentence.
    pub fn invalid(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Settings {
    /// Reads and checks all sources.
    pub fn load(source: &Source) -> Result<Self, SettingsError> {
        let mut table = match &source.file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| SettingsError::invalid(format!("{}: {error}", path.display())))?;
                text.parse::<Table>().map_err(|error| {
                    SettingsError::invalid(format!("{}: {}", path.display(), one_line(&error.to_string())))
                })?
            }
            None => Table::new(),
        };
        for (name, value) in source.environment.iter().filter(|(name, _)| name.starts_with("MILLRACE_")) {
            apply_variable(&mut table, name, value)?;
        }
        for (path, value) in &source.flags {
            set(&mut table, path, value.clone())?;
        }
        let settings: Self = table.try_into().map_err(|error: toml::de::Error| {
            let file = source.file.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default();
            SettingsError::invalid(format!("{file}{}", one_line(&error.to_string())))
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// A setting that a service cannot do without. The error names the variable and the key.
    pub fn required<'a, T>(value: Option<&'a T>, path: &str) -> Result<&'a T, SettingsError> {
        value.ok_or_else(|| {
            let variable = ENVIRONMENT.iter().find(|variable| variable.path == path).map_or("", |v| v.name);
            SettingsError::invalid(format!(
                "{path} is not set; set {variable} or `{path}` in the configuration file"
            ))
        })
    }

    fn check(&self) -> Result<(), SettingsError> {
        let mut problems = self.limits.problems();
        if self.nats.partitions == 0 || self.nats.partitions > 1024 {
            problems.push("nats.partitions must be between 1 and 1024".to_owned());
        }
        if ![1, 3, 5].contains(&self.nats.replicas) {
            problems.push("nats.replicas must be 1, 3 or 5".to_owned());
        }
        if self.nats.ack_wait < std::time::Duration::from_secs(1) {
            problems.push("nats.ack_wait must be at least 1s".to_owned());
        }
        if !(1_000..=1_000_000).contains(&self.nats.max_ack_pending) {
            problems.push("nats.max_ack_pending must be between 1000 and 1000000".to_owned());
        }
        problems.extend(self.database_url.as_deref().and_then(database_problem));
        let targets: BTreeSet<&str> =
            self.targets.iter().filter_map(|target| target.get("id").and_then(Value::as_str)).collect();
        let ids = self.repositories.iter().map(|repository| repository.id.as_str()).collect();
        problems.extend(self.dispatch.problems(&ids));
        let mut seen = BTreeSet::new();
        for repository in &self.repositories {
            let id = &repository.id;
            if Key::new(id.clone()).is_err() {
                problems.push(format!("repository id `{id}` must be 1 to 64 letters, digits, `_` or `-`"));
            }
            if !seen.insert(id) {
                problems.push(format!("two repositories have the id `{id}`"));
            }
            if !targets.contains(repository.target.as_str()) {
                problems.push(format!(
                    "repository `{id}` releases to target `{}`, which is not configured",
                    repository.target
                ));
            }
            if let ForgeKind::Local = repository.forge
                && Path::new(repository.url.trim_start_matches("file://")).join(".git").exists()
            {
                problems.push(format!(
                    "repository `{id}`: {url} is a working tree, and changes are pushed to bare repositories \
                     only; make one with `git clone --bare {url} {id}.git`, name that, and name the working tree as \
                     specs_url if specs are to be read from it",
                    url = repository.url
                ));
            }
            if millrace_events::TaskId::allocated(&repository.task_prefix, 1).is_err() {
                problems.push(format!(
                    "repository `{id}`: task_prefix `{}` must be capital letters and digits",
                    repository.task_prefix
                ));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::invalid(problems.join("; "))) }
    }
}

/// What is wrong with the ledger's URL. No more than the scheme is shown: the rest may hold a password.
fn database_problem(url: &str) -> Option<String> {
    let known = ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme));
    let scheme: String = url.split(':').next().unwrap_or_default().chars().take(40).collect();
    (!known).then(|| {
        format!("database_url must be sqlite://<path> or postgres://…; `{scheme}` is neither of them")
    })
}

fn apply_variable(table: &mut Table, name: &str, text: &str) -> Result<(), SettingsError> {
    if NOT_SETTINGS.contains(&name) {
        return Ok(());
    }
    let variable = ENVIRONMENT.iter().find(|variable| variable.name == name).ok_or_else(|| {
        SettingsError::invalid(format!(
            "the environment variable {name} is not known; docs/configuration.md lists them"
        ))
    })?;
    let value = match variable.kind {
        Kind::Text => Value::String(text.to_owned()),
        Kind::Number => Value::Integer(
            text.parse()
                .map_err(|_| SettingsError::invalid(format!("{name}: `{text}` is no whole number")))?,
        ),
        Kind::Switch => Value::Boolean(
            text.parse()
                .map_err(|_| SettingsError::invalid(format!("{name}: `{text}` is neither true nor false")))?,
        ),
    };
    // On its own first: a value that cannot be meant is reported with the variable that brought it.
    let mut alone = Table::new();
    set(&mut alone, variable.path, value.clone())?;
    let tried: Result<Settings, toml::de::Error> = alone.try_into();
    tried.map_err(|error| SettingsError::invalid(format!("{name}: {}", one_line(error.message()))))?;
    set(table, variable.path, value)
}

fn set(table: &mut Table, path: &str, value: Value) -> Result<(), SettingsError> {
    let (parents, last) = path.rsplit_once('.').map_or(("", path), |(parents, last)| (parents, last));
    let mut at = table;
    for name in parents.split('.').filter(|name| !name.is_empty()) {
        at = at
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| SettingsError::invalid(format!("`{name}` must be a table")))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// The parser's picture of the line, on one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("millrace.toml");
        std::fs::write(&file, toml).unwrap();
        Settings::load(&Source {
            file: Some(file),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            flags: Vec::new(),
        })
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let settings =
            load("[limits]\nlease = \"20s\"\nexecution = \"1m\"", &[("MILLRACE_LIMITS_LEASE", "40s")])
                .unwrap();
        assert_eq!(settings.limits.lease, Duration::from_secs(40));
        assert_eq!(settings.limits.execution, Duration::from_secs(60));
    }

    #[test]
    fn how_much_may_be_held_is_what_the_consumers_are_made_with() {
        let installed = |text: &str| load(text, &[]).map(|settings| settings.installation().max_ack_pending);
        assert_eq!(installed("").unwrap(), 65_536);
        assert_eq!(installed("[nats]\nmax_ack_pending = 200000").unwrap(), 200_000);
        let settings = load("", &[("MILLRACE_NATS_MAX_ACK_PENDING", "5000")]).unwrap();
        assert_eq!(settings.installation().max_ack_pending, 5_000);
        for wrong in ["0", "999", "1000001"] {
            let error = installed(&format!("[nats]\nmax_ack_pending = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("nats.max_ack_pending must be between"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for (toml, name) in
            [("leese = 1", "leese"), ("[limits]\nleese = \"1s\"", "leese"), ("[nats]\nport = 1", "port")]
        {
            assert!(load(toml, &[]).unwrap_err().to_string().contains(name), "{toml}");
        }
        let error = load("", &[("MILLRACE_LEASE", "1s")]).unwrap_err().to_string();
        assert!(error.contains("MILLRACE_LEASE"), "{error}");
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        let error = load("[limits]\nexecution = \"5 minutes\"", &[]).unwrap_err().to_string();
        assert!(error.contains("5 minutes") && error.contains("30s"), "{error}");
        for (name, value, part) in [
            ("MILLRACE_LIMITS_EXECUTION", "5 minutes", "30s"),
            ("MILLRACE_QUERY_LISTEN", "here", "address"),
            ("MILLRACE_NATS_REPLICAS", "300", "300"),
        ] {
            let error = load("", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
        let error = load("", &[("MILLRACE_DATABASE_URL", "mysql://u:secret@h/d")]).unwrap_err().to_string();
        assert!(error.contains("sqlite") && error.contains("mysql") && !error.contains("secret"), "{error}");
        let error = load("[limits]\nlease = \"10s\"\nlease_renewal = \"9s\"", &[]).unwrap_err().to_string();
        assert!(error.contains("lease_renewal"), "{error}");
        let error = load("[[repository]]\nid = \"a\"\nurl = \"x\"\ntarget = \"nowhere\"", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("nowhere"), "{error}");
    }

    #[test]
    fn limits_of_what_is_under_way_are_checked() {
        let repository = "[[target]]\nid = \"t\"\n[[repository]]\nid = \"a\"\nurl = \"x\"\ntarget = \"t\"\n";
        let with = |dispatch: &str| load(&format!("{repository}[dispatch]\n{dispatch}"), &[]);
        let settings = with("aging = \"5m\"\nrepositories = { a = 2 }\ndomains = { checkout = 1 }").unwrap();
        assert_eq!(settings.dispatch.repositories["a"], 2);
        assert!(settings.dispatch.counts_runs() && !load("", &[]).unwrap().dispatch.counts_runs());
        for (dispatch, part) in [
            ("open_offers = 0", "open_offers"),
            ("waiting = 2000000", "waiting"),
            ("aging = \"10ms\"", "aging"),
            ("repositories = { a = 0 }", "`a` must be between 1 and 1000"),
            ("repositories = { b = 1 }", "no repository `b`"),
            ("domains = { \"\" = 1 }", "between 1 and 64 bytes"),
            ("domains = { Shop = 1, shop = 2 }", "limited twice"),
        ] {
            let error = with(dispatch).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let settings = load("", &[("MILLRACE_DISPATCH_OPEN_OFFERS", "7")]).unwrap();
        assert_eq!(settings.dispatch.open_offers, 7);
    }

    #[test]
    fn a_working_tree_is_no_repository_to_release_from() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().display();
        let toml =
            format!("[[target]]\nid = \"t\"\n[[repository]]\nid = \"a\"\nurl = \"{url}\"\ntarget = \"t\"");
        load(&toml, &[]).unwrap();
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        let error = load(&toml, &[]).unwrap_err().to_string();
        assert!(error.contains("git clone --bare"), "{error}");
    }

    #[test]
    fn s2_c1_a_missing_setting_is_named_with_its_variable() {
        let settings = load("", &[]).unwrap();
        let error =
            Settings::required(settings.database_url.as_ref(), "database_url").unwrap_err().to_string();
        assert!(error.contains("MILLRACE_DATABASE_URL") && error.contains("database_url"), "{error}");
    }
}
