//! The keys that an operator makes, and the manifests as the binary meets them: every container of the
//! rendered overlays is started here with what Kubernetes would give it. docs/kubernetes.md

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Output};
use std::time::Duration;

use millrace_runtime::permissions::{Identity, auth_template, public_key};
use millrace_runtime::settings::{ENVIRONMENT, Settings};
use millrace_testkit::{NatsServer, nats, workspace_root};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{err, millrace, out};

/// Each overlay with the copies of its streams, and whether specs may carry their own plan.
const OVERLAYS: [(&str, u8, bool); 2] = [("dev-sandbox", 1, true), ("production", 3, false)];

/// As the name of a pod of a Deployment looks.
const POD: &str = "worker-6d5f8c9b7d-x2k8p";

/// What a container is given, as `check_manifests.py --containers` says it.
#[derive(Deserialize)]
struct Container {
    workload: String,
    image: String,
    arguments: Vec<String>,
    replicas: u8,
    environment: BTreeMap<String, Variable>,
    files: BTreeMap<PathBuf, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Variable {
    Value(String),
    Secret(String),
    Field(String),
}

impl Container {
    fn is_ours(&self) -> bool {
        self.image.contains("/millrace@")
    }

    /// Its variables, with files laid out below `root`, `keys` for the seeds and `database` for the ledger.
    fn environment(&self, root: &Path, keys: &Path, database: &str) -> BTreeMap<String, String> {
        for (file, text) in &self.files {
            let file = below(root, file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let (_, identity) = self.workload.split_once('/').unwrap();
        let value = |(name, variable): (&String, &Variable)| {
            let value = match variable {
                Variable::Secret(secret) if secret.starts_with("ledger-database/") => database.to_owned(),
                Variable::Field(field) if field == "metadata.name" => POD.to_owned(),
                Variable::Secret(other) | Variable::Field(other) => panic!("{name} from {other}"),
                Variable::Value(_) if name == "MILLRACE_NATS_SEED_FILE" => {
                    keys.join(format!("{identity}.seed")).display().to_string()
                }
                Variable::Value(file) if name == "MILLRACE_CONFIG" => {
                    below(root, Path::new(file)).display().to_string()
                }
                Variable::Value(value) => value.clone(),
            };
            (name.clone(), value)
        };
        self.environment.iter().map(value).collect()
    }
}

fn below(root: &Path, file: &Path) -> PathBuf {
    root.join(file.strip_prefix("/").unwrap())
}

/// The containers of an overlay, from the scripts that `make manifests` uses.
fn containers(overlay: &str) -> Vec<Container> {
    let rendered = tempfile::NamedTempFile::new().unwrap();
    let folder = format!("deploy/k8s/overlays/{overlay}");
    std::fs::write(rendered.path(), script(&["render_manifests.py", &folder])).unwrap();
    let given = script(&["check_manifests.py", "--containers", rendered.path().to_str().unwrap()]);
    serde_json::from_slice(&given).unwrap()
}

fn script(arguments: &[&str]) -> Vec<u8> {
    let root = workspace_root();
    let python = root.join(".tools/venv/bin/python");
    assert!(python.exists(), "the manifest checker is missing: run `make setup`");
    let run = StdCommand::new(python)
        .arg(root.join("scripts").join(arguments[0]))
        .args(&arguments[1..])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(run.status.success(), "{arguments:?}: {}", err(&run));
    run.stdout
}

/// Runs what a container runs.
async fn run(folder: &Path, arguments: &[&str], environment: &BTreeMap<String, String>) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment)
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_secs(60), run).await.expect("the command ends").unwrap()
}

async fn make_keys(folder: &Path) -> PathBuf {
    let made = millrace(folder, &["keys", "--directory", "keys"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    folder.join("keys")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn keys_are_made_once_and_only_their_owner_may_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = make_keys(folder.path()).await;
    assert_eq!(mode(&keys), 0o700);
    let variables = std::fs::read_to_string(keys.join("public-keys.env")).unwrap();
    let mut seeds = BTreeMap::new();
    for identity in Identity::all() {
        let file = keys.join(format!("{identity}.seed"));
        assert_eq!(mode(&file), 0o600, "{identity}");
        let seed = std::fs::read_to_string(&file).unwrap();
        let line = format!("{}={}\n", identity.key_variable(), public_key(seed.trim()).unwrap());
        assert!(variables.contains(&line), "{line} is missing in {variables}");
        seeds.insert(file, seed);
    }
    assert_eq!(variables.lines().count(), Identity::all().count());
    assert!(seeds.values().all(|seed| !variables.contains(seed.trim())), "a seed is no public key");

    // A second time keeps them, makes the one that is missing, and says which.
    let lost = keys.join("query.seed");
    std::fs::remove_file(&lost).unwrap();
    std::fs::write(keys.join("public-keys.env"), "").unwrap();
    let again = millrace(folder.path(), &["keys", "--directory", "keys", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&out(&again)).unwrap();
    for key in json["keys"].as_array().unwrap() {
        let created = key["identity"] == "query";
        assert_eq!(key["created"], created, "{key}");
        let file = folder.path().join(key["seed_file"].as_str().unwrap());
        let seed = std::fs::read_to_string(&file).unwrap();
        assert_eq!(seed == seeds[&file], !created, "{key}");
        assert_eq!(key["public_key"], public_key(seed.trim()).unwrap());
    }
    let restored = std::fs::read_to_string(keys.join("public-keys.env")).unwrap();
    let query = Identity::all().find(|identity| identity.name() == "query").unwrap().key_variable();
    for line in variables.lines() {
        assert_eq!(restored.contains(line), !line.starts_with(&query), "{line}");
    }
}

#[tokio::test]
async fn a_damaged_seed_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let keys = make_keys(folder.path()).await;
    let damaged = keys.join("worker.seed");
    std::fs::write(&damaged, "SUnothing").unwrap();
    let refused = millrace(folder.path(), &["keys", "--directory", "keys"]).await;
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    assert!(err(&refused).contains("worker.seed"), "{}", err(&refused));
    assert_eq!(std::fs::read_to_string(&damaged).unwrap(), "SUnothing");
}

#[test]
fn every_variable_of_the_manifests_is_a_setting() {
    for (overlay, ..) in OVERLAYS {
        for container in containers(overlay) {
            for name in container.environment.keys().filter(|name| name.starts_with("MILLRACE_")) {
                let known = name == "MILLRACE_CONFIG" || ENVIRONMENT.iter().any(|known| known.name == name);
                assert!(known, "{overlay}: {} has {name}, which no setting reads", container.workload);
            }
        }
    }
}

/// The permissions that the broker mounts are those for the partitions that the services are told.
#[tokio::test]
async fn s2_c2_every_service_loads_what_its_deployment_gives_it_with_one_environment_value() {
    for (overlay, copies, recipe) in OVERLAYS {
        let containers = containers(overlay);
        let broker = containers.iter().find(|one| one.workload == "StatefulSet/nats").unwrap();
        assert_eq!(broker.replicas, copies);
        let mut services = 0;
        for container in containers.iter().filter(|one| one.arguments.first().is_some_and(|is| is == "run")) {
            services += 1;
            let root = tempfile::tempdir().unwrap();
            let environment =
                container.environment(root.path(), Path::new("/keys"), "postgres://ledger.invalid/millrace");
            let arguments: Vec<&str> =
                container.arguments.iter().map(String::as_str).chain(["--print-config"]).collect();
            let printed = run(root.path(), &arguments, &environment).await;
            let what = format!("{overlay}: {}", container.workload);
            assert_eq!(printed.status.code(), Some(0), "{what}: {}", err(&printed));
            let settings: Settings = toml::from_str(&out(&printed)).unwrap();
            assert_eq!(settings.environment, overlay, "{what}");
            assert_eq!(settings.nats.replicas, copies, "{what}");
            let permissions = &broker.files[Path::new("/etc/nats/auth.conf")];
            assert!(*permissions == auth_template(&settings.installation()), "{what}: other streams");
            if container.workload == "Deployment/worker" {
                assert_eq!(settings.worker["id"].as_str(), Some(POD), "{what}");
                assert_eq!(settings.worker["recipe"].as_bool(), Some(recipe), "{what}");
            }
        }
        assert_eq!(services, 8, "{overlay}");
        let ours = containers.iter().filter(|one| one.is_ours()).count();
        assert_eq!(ours, services + 2, "{overlay}: the services and two jobs");
    }
}

#[tokio::test]
async fn the_jobs_do_their_work_with_what_the_manifests_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = make_keys(folder.path()).await;
    let containers = containers("dev-sandbox");
    let database = format!("sqlite://{}", folder.path().join("ledger.db").display());
    let job = |name: &str| {
        let job = containers.iter().find(|one| one.workload == name).unwrap();
        let arguments: Vec<&str> = job.arguments.iter().map(String::as_str).collect();
        (arguments, job.environment(folder.path(), &keys, &database))
    };

    let (arguments, environment) = job("Job/migrate");
    let migrated = run(folder.path(), &arguments, &environment).await;
    assert_eq!((migrated.status.code(), out(&migrated).trim()), (Some(0), "migrated"), "{}", err(&migrated));

    // The lines of an env file are variables of nats-server's own language, too.
    let broker = containers.iter().find(|one| one.workload == "StatefulSet/nats").unwrap();
    let public_keys = std::fs::read_to_string(keys.join("public-keys.env")).unwrap();
    let server =
        NatsServer::start_with(&format!("{public_keys}{}", broker.files[Path::new("/etc/nats/auth.conf")]));
    let (arguments, mut environment) = job("Job/bootstrap");
    environment.insert("MILLRACE_NATS_URL".to_owned(), server.client_url());
    for expected in ["0 as declared, 0 different", "0 created, 0 updated"] {
        let made = run(folder.path(), &arguments, &environment).await;
        assert_eq!(made.status.code(), Some(0), "{}", err(&made));
        assert!(out(&made).contains(expected), "{}", out(&made));
    }
}

/// nats-server's own check of what each overlay mounts, its keys from the environment.
#[tokio::test]
async fn the_brokers_configuration_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let keys = make_keys(folder.path()).await;
    let public_keys = std::fs::read_to_string(keys.join("public-keys.env")).unwrap();
    let public_keys: Vec<(&str, &str)> =
        public_keys.lines().map(|line| line.split_once('=').unwrap()).collect();
    for (overlay, ..) in OVERLAYS {
        let containers = containers(overlay);
        let broker = containers.iter().find(|one| one.workload == "StatefulSet/nats").unwrap();
        let root = folder.path().join(overlay);
        let mut environment = broker.environment(&root, &keys, "");
        environment.insert("POD_NAME".to_owned(), "nats-0".to_owned());
        let check = |keys: &[(&str, &str)]| {
            StdCommand::new(nats::binary())
                .arg("-t")
                .arg("--config")
                .arg(root.join("etc/nats/nats.conf"))
                .env_clear()
                .envs(&environment)
                .envs(keys.iter().copied())
                .output()
                .unwrap()
        };
        let checked = check(&public_keys);
        assert!(checked.status.success(), "{overlay}: {}", err(&checked));
        let checked = check(&public_keys[1..]);
        assert!(!checked.status.success(), "{overlay}: it must not start without a key");
    }
}
