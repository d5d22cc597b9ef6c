//! A git repository with a small application, and specs for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The application: answers /healthz and /version, serves `page.txt`, and writes down that it was started,
/// where a later release does not delete it. As little of Python as will do: it is started for every task.
const APPLICATION: &str = r#"
import os, _socket
commit = os.environ["MILLRACE_COMMIT"]
with open("/state/starts", "a") as starts:
    starts.write(commit + "\n")
listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
listener.bind((os.environ["HOST"], int(os.environ["PORT"])))
listener.listen(64)
while True:
    connection = _socket.socket(fileno=listener._accept()[0])
    try:
        connection.settimeout(2)
        path = connection.recv(4096).split(b" ")[1]
        if path == b"/version":
            if os.path.exists("sha.txt"):
                commit = open("sha.txt").read().strip()
            body = '{"commit": "%s"}' % commit
        elif path == b"/healthz":
            body = "ok"
        else:
            body = open("page.txt").read()
        connection.sendall(("HTTP/1.0 200 OK\r\n\r\n" + body).encode())
    except Exception:
        pass
    connection.close()
"#;

/// A bare repository and a clone to write in.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its id, and that of its target.
    pub name: String,
    /// The bare repository, as the configuration names it.
    pub bare: PathBuf,
    work: PathBuf,
}

/// What a spec's plan does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Files to write.
    pub writes: Vec<(&'static str, String)>,
    /// Commands to run in the sandbox.
    pub commands: Vec<&'static str>,
    /// Fields of the change to leave out, to break its contract.
    pub without: Vec<&'static str>,
}

impl Plan {
    /// A change of the page.
    pub fn page(text: &str) -> Self {
        Self { writes: vec![("page.txt", format!("{text}\n"))], commands: vec![], without: vec![] }
    }

    /// A change of a file of its own, so that it conflicts with no other.
    pub fn file(path: String, text: &str) -> Self {
        // A test's tasks are few, and it ends with its process.
        let writes = vec![(&*path.leak(), format!("{text}\n"))];
        Self { writes, commands: vec![], without: vec![] }
    }

    /// With a command.
    pub fn command(mut self, command: &'static str) -> Self {
        self.commands.push(command);
        self
    }

    fn to_yaml(&self, task: &str) -> String {
        let edits: Vec<serde_json::Value> = self
            .writes
            .iter()
            .map(|(path, content)| serde_json::json!({"path": path, "action": "write", "content": content}))
            .collect();
        let mut change = serde_json::json!({
            "edits": edits, "commands": self.commands, "dry_run": false, "pr_required": true, "rollback_commands": [],
        });
        for field in &self.without {
            change.as_object_mut().unwrap().remove(*field);
        }
        // JSON is YAML.
        serde_json::json!({
            "plan": {"rollback_plan": "revert the commit", "idempotency_key": task, "risk_level": "low", "steps": ["change the page"]},
            "change": change,
        })
        .to_string()
    }
}

/// A valid spec with a plan.
pub fn spec(task: &str, plan: &Plan) -> String {
    format!(
        "# {task}: another page\n\n## Summary\n\nThe page says something else.\n\n## Problem\n\nIt says the wrong thing today.\n\n\
         ## Acceptance Criteria\n\n- [ ] The page shows the new text.\n\n## How\n\n```millrace\n{}\n```\n",
        plan.to_yaml(task)
    )
}

impl Repository {
    /// An application; where it has checks, they pass while `page.txt` does not contain the word `broken`.
    pub fn new(folder: &Path, name: &str, has_checks: bool) -> Self {
        let (bare, work) = (folder.join(format!("{name}.git")), folder.join(name));
        let this = Self { name: name.to_owned(), bare, work };
        let bare = format!("{name}.git");
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        git(folder, &["clone", "--quiet", &bare, name]);
        let mut files = vec![("app.py", APPLICATION.to_owned()), ("page.txt", "hello\n".to_owned())];
        if has_checks {
            let checks = "[checks]\nwords = \"! grep -q broken page.txt\"\n";
            files.push((".millrace.toml", checks.to_owned()));
        }
        this.commit(&files);
        this
    }

    /// Commits files on main and pushes them.
    pub fn commit(&self, files: &[(&str, String)]) -> String {
        let _first_time =
            Command::new("git").args(["pull", "--quiet", "origin", "main"]).current_dir(&self.work).output();
        for (path, text) in files {
            let path = self.work.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&self.work, &["add", "--all"]);
        git(
            &self.work,
            &["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message", "files"],
        );
        git(&self.work, &["push", "--quiet", "origin", "HEAD:main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// Adds a spec to the specs path.
    pub fn add_spec(&self, task: &str, text: String) {
        self.commit(&[(&format!("docs/specs/{task}-x.md"), text)]);
    }

    /// Adds many specs in one commit: path and text of each.
    pub fn add_specs(&self, specs: &[(String, String)]) {
        let files: Vec<(&str, String)> =
            specs.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
        self.commit(&files);
    }

    /// Output of git in the bare repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.bare, arguments)
    }

    /// Commits on main whose message carries the trailer of `task`.
    pub fn commits_of(&self, task: &str) -> usize {
        let grep = format!("--grep=^Task-Id: {task}$");
        let log = self.git(&["log", "--first-parent", "--format=%H", &grep, "main"]);
        log.lines().count()
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(folder).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
