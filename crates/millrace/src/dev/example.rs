//! An example folder made into a git repository, and its specs followed to their ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use millrace_forge::Git;
use millrace_rpc::client::{self, LedgerQueryClient};
use millrace_rpc::v1::{GetTaskHistoryRequest, GetTaskRequest, Task, TaskStatus};
use millrace_runtime::settings::Settings;
use millrace_spec_registry::domain::format::{ParseSettings, task_id_in_file_name};
use toml::{Table, Value};
use tonic::transport::Channel;

use super::folder::Folder;
use super::report::say;
use crate::exit::Exit;
use crate::story;

/// How often the example's tasks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A repository made from a folder.
pub(crate) struct Example {
    name: String,
    repository: PathBuf,
    /// The folder's `[release]` table: how the application is started and asked.
    release: Table,
    /// Tasks of its specs.
    tasks: Vec<String>,
}

/// Makes a bare git repository from `source`, once; later starts find it as it has become.
pub(crate) async fn prepare(folder: &Folder, source: &Path) -> anyhow::Result<Example> {
    let source =
        source.canonicalize().with_context(|| format!("there is no example at {}", source.display()))?;
    let name = source
        .file_name()
        .and_then(|name| name.to_str())
        .context("the example's folder has no name")?
        .to_owned();
    let config = std::fs::read_to_string(source.join(".millrace.toml"))
        .with_context(|| format!("{} has no .millrace.toml", source.display()))?;
    let config: Table = config.parse().context("the example's .millrace.toml cannot be read")?;
    let release = config.get("release").and_then(Value::as_table).cloned();
    let release = release.context("the example's .millrace.toml has no [release] table")?;
    let repository = folder.path("example").join(format!("{name}.git"));
    if !repository.join("HEAD").exists() {
        make_repository(folder, &source, &repository).await?;
    }
    let tasks = tasks_of(&source.join("docs/specs"))?;
    Ok(Example { name, repository, release, tasks })
}

/// Commits the folder's files in a scratch clone and moves the finished repository into its place, so that
/// a crash leaves none that is half made.
async fn make_repository(folder: &Folder, source: &Path, repository: &Path) -> anyhow::Result<()> {
    let parent = folder.path("example");
    std::fs::create_dir_all(&parent)?;
    let scratch = tempfile::tempdir_in(&parent)?;
    let (bare, work) = (scratch.path().join("bare.git"), scratch.path().join("work"));
    copy(source, &work)?;
    let git = Git::new();
    let text = |path: &Path| path.display().to_string();
    git.run(["init", "--quiet", "--bare", "--initial-branch=main", &text(&bare)]).await?;
    let git = git.in_directory(&work);
    git.run(["init", "--quiet", "--initial-branch=main"]).await?;
    git.run(["add", "--all"]).await?;
    let author = ["-c", "user.name=Example", "-c", "user.email=example@localhost"];
    git.run(author.into_iter().chain(["commit", "--quiet", "--message", "The example as it is shipped"]))
        .await?;
    git.run(["push", "--quiet", &text(&bare), "main"]).await?;
    std::fs::rename(&bare, repository)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() && entry.file_name() != "__pycache__" && entry.file_name() != ".git" => {
                copy(&entry.path(), &target)?
            }
            kind if kind.is_file() => {
                std::fs::copy(entry.path(), target)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn tasks_of(specs: &Path) -> anyhow::Result<Vec<String>> {
    let settings = ParseSettings::default();
    let mut tasks: Vec<String> = std::fs::read_dir(specs)
        .with_context(|| format!("the example has no specs in {}", specs.display()))?
        .flatten()
        .filter_map(|entry| task_id_in_file_name(entry.file_name().to_str()?, &settings))
        .collect();
    tasks.sort();
    tasks.dedup();
    if tasks.is_empty() {
        bail!("{} holds no spec whose file name starts with a task id", specs.display());
    }
    Ok(tasks)
}

impl Example {
    /// Its repository, as the configuration has it.
    pub(crate) fn repository(&self) -> Table {
        table([
            ("id", self.name.clone()),
            ("url", self.repository.display().to_string()),
            ("target", self.name.clone()),
            ("scan_period", "2s".to_owned()),
        ])
    }

    /// The target that its releases run on.
    pub(crate) fn target(&self, folder: &Folder) -> Table {
        let mut target = table([
            ("kind", "process".to_owned()),
            ("id", self.name.clone()),
            ("root", folder.path("targets").join(&self.name).display().to_string()),
        ]);
        for (from, to) in
            [("start", "start_command"), ("health_path", "health_path"), ("version_path", "version_path")]
        {
            if let Some(value) = self.release.get(from) {
                target.insert(to.to_owned(), value.clone());
            }
        }
        target
    }
}

fn table<const N: usize>(entries: [(&str, String); N]) -> Table {
    entries.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// Shows each stage of the example's tasks as it is reached and the timeline of each at its end. `Some`:
/// the server should end with this code.
pub(crate) async fn follow(
    example: &Example,
    settings: &Settings,
    exit_when_done: bool,
) -> anyhow::Result<Option<Exit>> {
    let mut query = connect(settings).await?;
    let mut seen: Vec<(String, String)> =
        example.tasks.iter().map(|task| (task.clone(), String::new())).collect();
    let mut ended: Vec<Task> = Vec::new();
    say("");
    say(&format!("Waiting for the registry to find the specs of {} …", example.tasks.join(" and ")));
    while ended.len() < seen.len() {
        for (id, shown) in &mut seen {
            if ended.iter().any(|task| task.id == *id) {
                continue;
            }
            let request = GetTaskRequest { task: id.clone(), ..GetTaskRequest::default() };
            let Ok(answer) = query.get_task(request).await else { continue };
            let Some(task) = answer.into_inner().task else { continue };
            if *shown != task.stage {
                say(&format!("  {id}  {}", task.stage));
                shown.clone_from(&task.stage);
            }
            if !matches!(task.status(), TaskStatus::Pending | TaskStatus::Active | TaskStatus::Unspecified) {
                ended.push(task);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for task in &ended {
        timeline(&mut query, task).await?;
    }
    say("");
    let released = ended.iter().filter(|task| task.status() == TaskStatus::Complete);
    for task in released.clone() {
        say(&format!(
            "{} is released: commit {} answers at {}",
            task.id,
            story::short(&task.release_commit),
            task.release_url
        ));
    }
    for task in ended.iter().filter(|task| task.status() != TaskStatus::Complete) {
        say(&format!(
            "{} did not make it, as it should not: `millrace task why {}` says why",
            task.id, task.id
        ));
    }
    let code = if released.count() > 0 { Exit::Ok } else { Exit::Unsuccessful };
    Ok(exit_when_done.then_some(code))
}

async fn connect(settings: &Settings) -> anyhow::Result<LedgerQueryClient<Channel>> {
    let address = format!("http://{}", settings.query_listen);
    for _ in 0..100 {
        if let Ok(channel) = client::connect(&address).await {
            return Ok(LedgerQueryClient::new(channel));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("the query service did not answer at {address}")
}

async fn timeline(query: &mut LedgerQueryClient<Channel>, task: &Task) -> anyhow::Result<()> {
    say("");
    say(&format!(
        "{}  {}  ({})",
        task.id,
        task.title,
        task.status().as_str_name().trim_start_matches("TASK_STATUS_").to_lowercase()
    ));
    let request = GetTaskHistoryRequest { task: task.id.clone(), ..GetTaskHistoryRequest::default() };
    for line in story::timeline(&query.get_task_history(request).await?.into_inner().events) {
        say(&format!("  {line}"));
    }
    Ok(())
}
