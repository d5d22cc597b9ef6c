//! A git repository with a small application, and specs for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The application: answers /healthz and /version, serves `page.txt`.
const APPLICATION: &str = r#"
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/version":
            body = json.dumps({"commit": open("sha.txt").read().strip() if os.path.exists("sha.txt") else os.environ["MILLRACE_COMMIT"]})
        elif self.path == "/healthz":
            body = "ok"
        else:
            body = open("page.txt").read()
        self.send_response(200); self.end_headers(); self.wfile.write(body.encode())
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// A bare repository and a clone to write in.
pub struct Repository {
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
    /// An application whose check passes while `page.txt` does not contain the word `broken`.
    pub fn new(folder: &Path) -> Self {
        let (bare, work) = (folder.join("shop.git"), folder.join("shop"));
        let this = Self { bare, work };
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "shop.git"]);
        git(folder, &["clone", "--quiet", "shop.git", "shop"]);
        this.commit(&[
            ("app.py", APPLICATION.to_owned()),
            ("page.txt", "hello\n".to_owned()),
            (".millrace.toml", "[checks]\nwords = \"! grep -q broken page.txt\"\n".to_owned()),
        ]);
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
