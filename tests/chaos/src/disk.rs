//! Disks of a scenario's own: one that loses power, one that is small.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An ext4 file system on a loop device, whose power can be cut: [`cut`](Self::cut) copies what has reached
/// the disk at that moment, and [`come_back`](Self::come_back) mounts the copy where the disk was.
///
/// What a program wrote and nobody synced sits in the mounted file system's page cache, and is not in the
/// backing file: a copy of that file is what a machine without power would find.
#[derive(Debug)]
pub struct FrailDisk {
    mount: PathBuf,
    image: PathBuf,
    cut: PathBuf,
    // Removed last.
    _folder: tempfile::TempDir,
}

/// A file system in memory of a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl FrailDisk {
    /// A new, empty disk.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        let folder = folder("disk");
        let path = |name: &str| folder.path().join(name);
        let (mount, image, cut) = (path("mount"), path("image"), path("cut"));
        std::fs::create_dir(&mount).unwrap();
        run("truncate", &[&format!("--size={mebibytes}M"), text(&image)]);
        // Everything is laid out now, so that the kernel writes nothing on its own later.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", options, text(&image)]);
        let disk = Self { mount, image, cut, _folder: folder };
        disk.mount(&disk.image);
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Writes everything to the disk (syncfs).
    pub fn sync(&self) {
        run("sync", &["--file-system", text(&self.mount)]);
    }

    /// Cuts the power: what is on the disk now is what will be found. Whoever writes to the disk should be
    /// stopped (SIGSTOP), so that the copy is that of one moment. The disk stays mounted.
    pub fn cut(&self) {
        run("cp", &["--sparse=always", text(&self.image), text(&self.cut)]);
    }

    /// Mounts the copy in place of the disk. Whoever had files open on it must be gone.
    pub fn come_back(&self) {
        run("umount", &[text(&self.mount)]);
        std::fs::rename(&self.cut, &self.image).unwrap();
        self.mount(&self.image);
    }

    /// The kernel commits its journal on its own only every five minutes: nothing is on the disk that no
    /// program asked for.
    fn mount(&self, image: &Path) {
        run("mount", &["-o", "loop,commit=300", text(image), text(&self.mount)]);
    }
}

impl SmallDisk {
    /// A new, empty disk.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        let folder = folder("small");
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs", text(&mount)]);
        Self { mount, _folder: folder }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Gives it another size, with everything in it.
    pub fn resize(&self, mebibytes: u32) {
        run("mount", &["-o", &format!("remount,size={mebibytes}m"), text(&self.mount)]);
    }
}

impl Drop for FrailDisk {
    fn drop(&mut self) {
        unmount(&self.mount);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.mount);
    }
}

/// Detached even while somebody has files open on it: a failing scenario must leave no mount behind.
fn unmount(mount: &Path) {
    let _not_mounted = Command::new("umount").arg("--lazy").arg(mount).output();
}

/// Below `CHAOS_DIRECTORY`, where the script looks for what a killed scenario left.
fn folder(kind: &str) -> tempfile::TempDir {
    let prefix = format!("millrace-chaos-{kind}-");
    let parent = std::env::var_os("CHAOS_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run `make setup`"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said}\nThis scenario mounts disks: it needs root and loop devices."
    );
}
