//! Which names of branches, commits and paths are taken at all, before git sees them.

use crate::error::ForgeError;

/// Every branch that Millrace writes lies under this prefix.
pub const BRANCH_PREFIX: &str = "millrace/";

const MAX_BRANCH_CHARACTERS: usize = 200;

/// A name that any branch may have.
pub(crate) fn check_branch(branch: &str) -> Result<(), ForgeError> {
    let refused = |reason| Err(ForgeError::BranchRefused { branch: branch.to_owned(), reason });
    if branch.is_empty() || branch.len() > MAX_BRANCH_CHARACTERS {
        return refused("a branch name has 1 to 200 characters");
    }
    if !branch.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/+@#".contains(&byte)) {
        return refused("only letters, digits and . _ - / + @ # may be used");
    }
    let component_is_bad = |part: &str| {
        part.is_empty() || part.starts_with(['.', '-']) || part.ends_with(".lock") || part.ends_with('.')
    };
    if branch.contains("..") || branch == "@" || branch.split('/').any(component_is_bad) {
        return refused("git has no such branch names");
    }
    Ok(())
}

/// A name that Millrace itself may write or delete.
pub(crate) fn check_own_branch(branch: &str) -> Result<(), ForgeError> {
    check_branch(branch)?;
    if branch.starts_with(BRANCH_PREFIX) {
        Ok(())
    } else {
        Err(ForgeError::BranchRefused {
            branch: branch.to_owned(),
            reason: "Millrace writes branches under millrace/ only",
        })
    }
}

/// A full hexadecimal object id, SHA-1 or SHA-256.
pub(crate) fn check_commit(commit: &str) -> Result<(), ForgeError> {
    let hexadecimal = commit.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if hexadecimal && matches!(commit.len(), 40 | 64) {
        Ok(())
    } else {
        Err(ForgeError::CommitNotFound { commit: commit.to_owned() })
    }
}

/// A path from the repository's root.
pub(crate) fn check_path(path: &str) -> Result<(), ForgeError> {
    let bad = path.contains(['\0', '\n'])
        || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if bad { Err(ForgeError::PathRefused { path: path.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_could_be_options_or_escapes_are_refused() {
        for good in ["main", "millrace/VTID-01213/1.2", "feature/a_b-c"] {
            check_branch(good).unwrap();
        }
        for bad in ["", "-f", "a/-f", "a..b", "a//b", "/a", "a/", "a b", "a.lock", ".a", "a:b", "@", "a~1"] {
            assert!(check_branch(bad).is_err(), "{bad}");
        }
        assert!(check_own_branch("main").is_err());
        check_own_branch("millrace/VTID-01213/1.2").unwrap();
    }

    #[test]
    fn a_commit_is_a_full_id() {
        check_commit(&"a1".repeat(20)).unwrap();
        check_commit(&"a1".repeat(32)).unwrap();
        for bad in ["", "main", "HEAD", "a1b2c3d", &"A1".repeat(20), "--all"] {
            assert!(check_commit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_stays_inside() {
        check_path("docs/specs/a.md").unwrap();
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\nb"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
