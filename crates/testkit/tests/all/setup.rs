//! `scripts/setup.sh` on a made-up machine: a PATH with only what the machine is said to have.

use millrace_testkit::workspace_root;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// What every Unix has and the script uses.
const COMMON: &[&str] = &[
    "bash", "cat", "chmod", "cmp", "cp", "dirname", "env", "head", "mkdir", "mktemp", "mv", "rm", "sed",
    "sort", "uname",
];
/// Made up: each does nothing and succeeds.
const TOOLS: &[&str] = &["bwrap", "cargo", "cc", "git", "python3", "setpriv"];

struct Machine {
    folder: TempDir,
}

impl Machine {
    /// A machine with everything, a new nats-server too.
    fn complete() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.folder.path().join("bin")).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(workspace_root().join("scripts"))
            .arg(machine.folder.path())
            .status();
        assert!(copied.unwrap().success());
        for name in COMMON {
            symlink(find(name), machine.bin(name)).unwrap();
        }
        for name in TOOLS {
            machine.tool(name, "");
        }
        machine.tool("id", "echo 0");
        machine.tool("nats-server", "echo 'nats-server: v2.15.1'");
        // Installs by making each package a command of its name, or of the name that it brings.
        let bin = machine.folder.path().join("bin");
        let log = machine.folder.path().join("apt.log");
        let install = format!(
            "echo \"$@\" >>{log}\nfor name in \"$@\"; do\n  case $name in bubblewrap) name=bwrap ;; esac\n  \
             case $name in -* | install | update) ;; *) cp {bin}/git {bin}/$name ;; esac\ndone",
            log = log.display(),
            bin = bin.display()
        );
        machine.tool("apt-get", &install);
        machine
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin").join(name)
    }

    /// Written by another process: a file that this one had open for writing could still be open in a
    /// child that another test is just starting, and such a file cannot be executed.
    fn tool(&self, name: &str, body: &str) {
        let text = format!("#!{}\n{body}\n", find("bash").display());
        let write = "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"";
        let written =
            Command::new("bash").args(["-c", write, "write"]).arg(self.bin(name)).arg(text).status();
        assert!(written.unwrap().success());
    }

    fn without(self, name: &str) -> Self {
        fs::remove_file(self.bin(name)).unwrap();
        self
    }

    fn setup(&self) -> Output {
        Command::new(self.folder.path().join("scripts/setup.sh"))
            .arg("run")
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .output()
            .unwrap()
    }

    fn installed(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("apt.log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with("install")).map(ToOwned::to_owned).collect()
    }
}

fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut folders = std::env::split_paths(&path);
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| Path::exists(path))).expect(name)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn s4_fund_05_setup_is_silent_when_nothing_is_missing() {
    let machine = Machine::complete();
    let output = machine.setup();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "");
    assert_eq!(machine.installed(), [""; 0]);
}

#[test]
fn s4_fund_05_setup_installs_what_is_missing_and_only_once() {
    let machine = Machine::complete().without("bwrap");
    for _ in 0..2 {
        let output = machine.setup();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(machine.installed(), ["install -y -q --no-install-recommends bubblewrap"]);
}

#[test]
fn s4_fund_05_setup_says_what_to_install_by_hand() {
    let output = Machine::complete().without("bwrap").without("apt-get").setup();
    assert!(!output.status.success());
    assert!(said(&output).contains("install these with your package manager"), "{}", said(&output));
    assert!(said(&output).contains("bubblewrap"), "{}", said(&output));

    let output = Machine::complete().without("cargo").setup();
    assert!(!output.status.success());
    assert!(said(&output).contains("cargo is missing"), "{}", said(&output));
}

#[test]
fn s4_fund_05_a_user_without_rights_is_told_what_to_ask_for() {
    let machine = Machine::complete().without("bwrap");
    machine.tool("id", "echo 1000");
    let output = machine.setup();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("ask an administrator for: apt-get install bubblewrap"),
        "{}",
        said(&output)
    );
    assert_eq!(machine.installed(), [""; 0]);
}

#[test]
fn s4_fund_05_a_nats_server_that_is_too_old_is_not_used() {
    let machine = Machine::complete();
    machine.tool("nats-server", "echo 'nats-server: v2.9.10'");
    // Stops where the pinned server would be fetched.
    machine.tool("python3", "[ \"$2\" != venv ]");
    let output = machine.setup();
    assert!(!output.status.success());
    assert!(said(&output).contains("fetching nats-server"), "{}", said(&output));
}
