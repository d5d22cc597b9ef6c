//! The guards that `scripts/teeth.sh` takes out can still be taken out.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Every patch fits the tree as it is: what guards has changed, and its patch has not, is told here.
#[test]
fn every_guard_can_still_be_taken_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut patches: Vec<_> = fs::read_dir(root.join("tests/sim/teeth"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    assert!(!patches.is_empty());
    for path in patches {
        let tried = Command::new("patch")
            .args(["--dry-run", "--batch", "--forward", "-p1"])
            .current_dir(&root)
            .stdin(File::open(&path).unwrap())
            .output()
            .expect("`patch` runs: scripts/setup.sh installs it");
        let said = String::from_utf8_lossy(&tried.stdout);
        assert!(tried.status.success(), "{} does not apply any more: {said}", path.display());
    }
}
