//! The settings of a `process` target and what must be true of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::ports::TargetError;

/// The user of releases when this program runs as root: nobody.
const NOBODY: u32 = 65_534;

/// Variables that the target itself gives to a release.
const RESERVED: [&str; 4] = ["PORT", "HOST", "MILLRACE_COMMIT", "MILLRACE_RELEASE_DIR"];

/// Settings of a `process` target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessTargetConfig {
    /// The target's id: letters, digits, `-` and `_`, at most 64.
    pub id: String,
    /// The directory that holds everything of this target; an absolute path.
    pub root: PathBuf,
    /// Run by `/bin/sh -c` in the release directory. It must stay in the foreground.
    pub start_command: String,
    /// Answers 2xx when the release is healthy.
    #[serde(default = "health_path")]
    pub health_path: String,
    /// Answers the commit: bare, or as JSON field `commit`, `sha` or `version`.
    #[serde(default = "version_path")]
    pub version_path: String,
    /// Where the release listens on 127.0.0.1; 0 chooses a free port once and keeps it.
    #[serde(default)]
    pub port: u16,
    /// More variables for the release. Not for secrets: they are seen in the process list.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The release's user, as a name, `uid` or `uid:gid`. Needs root; nobody when absent. Without root
    /// the release runs as this program's user in a user namespace of its own.
    #[serde(default)]
    pub user: Option<String>,
    /// Directories outside `/usr` that the release may read, such as a toolchain.
    #[serde(default)]
    pub read_only_paths: Vec<PathBuf>,
    /// Time between SIGTERM and SIGKILL.
    #[serde(default = "stop_grace")]
    pub stop_grace: SignedDuration,
    /// How long a roll-out waits for the release to listen or to exit.
    #[serde(default = "start_wait")]
    pub start_wait: SignedDuration,
    /// Deadline of one request to the health or version path.
    #[serde(default = "probe_timeout")]
    pub probe_timeout: SignedDuration,
}

/// Settings that can work.
pub(super) struct Checked {
    pub(super) id: String,
    pub(super) root: PathBuf,
    pub(super) start_command: String,
    pub(super) health_path: String,
    pub(super) version_path: String,
    pub(super) port: u16,
    pub(super) env: BTreeMap<String, String>,
    /// `None` without root.
    pub(super) user: Option<User>,
    pub(super) read_only_paths: Vec<PathBuf>,
    pub(super) stop_grace: Duration,
    pub(super) start_wait: Duration,
    pub(super) probe_timeout: Duration,
}

/// A user by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl ProcessTargetConfig {
    /// Whether a target can be made of it on this machine.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn validate(&self) -> Result<(), TargetError> {
        self.clone().check().map(drop)
    }

    pub(super) fn check(self) -> Result<Checked, TargetError> {
        let id = self.id.clone();
        self.checked().map_err(|problem| TargetError::Configuration { target: id, problem })
    }

    fn checked(self) -> Result<Checked, String> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=64).contains(&self.id.len()) || !self.id.bytes().all(named) {
            return Err("`id` must be 1 to 64 letters, digits, - or _".to_owned());
        }
        if self.start_command.trim().is_empty() {
            return Err("`start_command` is empty".to_owned());
        }
        for (name, path) in [("health_path", &self.health_path), ("version_path", &self.version_path)] {
            if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("`{name}` must start with / and hold no spaces"));
            }
        }
        let absolute = std::iter::once(&self.root).chain(&self.read_only_paths);
        for path in absolute {
            if !path.is_absolute() {
                return Err(format!("{} must be an absolute path", path.display()));
            }
        }
        check_variables(&self.env)?;
        Ok(Checked {
            user: resolve_user(self.user.as_deref(), rustix::process::geteuid().is_root())?,
            stop_grace: positive("stop_grace", self.stop_grace)?,
            start_wait: positive("start_wait", self.start_wait)?,
            probe_timeout: positive("probe_timeout", self.probe_timeout)?,
            id: self.id,
            root: self.root,
            start_command: self.start_command,
            health_path: self.health_path,
            version_path: self.version_path,
            port: self.port,
            env: self.env,
            read_only_paths: self.read_only_paths,
        })
    }
}

fn check_variables(env: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in env {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) || value.contains('\0') {
            return Err(format!("`env` holds `{name}`, which cannot be a variable"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("`env` must not set {name}: the target does"));
        }
    }
    Ok(())
}

fn resolve_user(user: Option<&str>, is_root: bool) -> Result<Option<User>, String> {
    match (user, is_root) {
        (None, false) => Ok(None),
        (Some(_), false) => Err("`user` needs the deployer to run as root".to_owned()),
        (None, true) => Ok(Some(User { uid: NOBODY, gid: NOBODY })),
        (Some(user), true) => {
            let found = numbers(user).or_else(|| {
                let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
                look_up(user, &passwd)
            });
            match found {
                None => Err(format!("there is no user `{user}` on this machine")),
                Some(User { uid: 0, .. } | User { gid: 0, .. }) => Err("`user` must not be root".to_owned()),
                found => Ok(found),
            }
        }
    }
}

fn numbers(user: &str) -> Option<User> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

fn look_up(name: &str, passwd: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        fields.next()?;
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

fn positive(name: &str, value: SignedDuration) -> Result<Duration, String> {
    match Duration::try_from(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{name}` must be longer than nothing")),
    }
}

fn health_path() -> String {
    "/healthz".to_owned()
}

fn version_path() -> String {
    "/version".to_owned()
}

fn stop_grace() -> SignedDuration {
    SignedDuration::from_secs(10)
}

fn start_wait() -> SignedDuration {
    SignedDuration::from_secs(5)
}

fn probe_timeout() -> SignedDuration {
    SignedDuration::from_secs(2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn parse(more: &str) -> Result<ProcessTargetConfig, toml::de::Error> {
        toml::from_str(&format!("id = 'web'\nroot = '/srv/web'\nstart_command = './run'\n{more}"))
    }

    #[test]
    fn a_short_configuration_is_enough() {
        let config = parse("stop_grace = '3s'").unwrap();
        assert_eq!(config.health_path, "/healthz");
        let checked = config.check().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(checked.stop_grace, Duration::from_secs(3));
    }

    #[test]
    fn an_unknown_key_and_a_bad_duration_are_refused() {
        assert!(parse("helth_path = '/h'").is_err());
        assert!(parse("stop_grace = 'soon'").is_err());
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (more, word) in [
            ("health_path = 'h'", "health_path"),
            ("stop_grace = '-1s'", "stop_grace"),
            ("read_only_paths = ['opt']", "absolute"),
            ("env = { PORT = '1' }", "PORT"),
            ("env = { 'A=B' = '1' }", "A=B"),
        ] {
            let Err(error) = parse(more).unwrap().check() else {
                panic!("{more} was taken");
            };
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_user_is_found_by_name_and_number_but_never_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\napp:x:700:701::/:/bin/false\n";
        assert_eq!(look_up("app", passwd), Some(User { uid: 700, gid: 701 }));
        assert_eq!(look_up("ap", passwd), None);
        assert_eq!(numbers("5:6"), Some(User { uid: 5, gid: 6 }));
        assert!(resolve_user(Some("0"), true).is_err());
        assert!(resolve_user(Some("5:0"), true).is_err());
        assert!(resolve_user(Some("5"), false).is_err());
        assert_eq!(resolve_user(None, false), Ok(None));
        assert_eq!(resolve_user(None, true).unwrap().unwrap().uid, NOBODY);
    }
}
