//! What a directory consists of, as one hash: names, kinds, whether a file can be executed, contents. Not times,
//! owners and other modes, which differ from machine to machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

/// A lockfile is no larger than this.
const LOCKFILE_BYTES: u64 = 64 * 1024 * 1024;

/// SHA-256 of everything below a directory, in hexadecimal.
pub(super) fn of_tree(root: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    add_directory(&mut hash, root, Path::new(""))?;
    Ok(hex::encode(hash.finalize()))
}

fn add_directory(hash: &mut Sha256, root: &Path, below: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(root.join(below))?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let path: PathBuf = below.join(name);
        let full = root.join(&path);
        let found = fs::symlink_metadata(&full)?;
        if found.is_dir() {
            add(hash, b'd', &path, &[]);
            add_directory(hash, root, &path)?;
        } else if found.is_symlink() {
            add(hash, b'l', &path, fs::read_link(&full)?.as_os_str().as_bytes());
        } else if found.is_file() {
            let kind = if found.permissions().mode() & 0o111 == 0 { b'f' } else { b'x' };
            add(hash, kind, &path, &of_file(&full)?);
        }
        // Sockets and pipes are nothing that a result consists of.
    }
    Ok(())
}

fn add(hash: &mut Sha256, kind: u8, path: &Path, content: &[u8]) {
    let path = path.as_os_str().as_bytes();
    hash.update([kind]);
    hash.update((path.len() as u64).to_be_bytes());
    hash.update(path);
    hash.update((content.len() as u64).to_be_bytes());
    hash.update(content);
}

fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().to_vec())
}

/// A file of a checkout, where no part of its path leads out of it.
pub(super) fn read_below(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::other("it is no plain path inside the checkout"));
    }
    let (root, full) = (root.canonicalize()?, root.join(path).canonicalize()?);
    if !full.starts_with(root) {
        return Err(io::Error::other("it leads out of the checkout"));
    }
    let mut text = Vec::new();
    File::open(full)?.take(LOCKFILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LOCKFILE_BYTES {
        return Err(io::Error::other("it is larger than a lockfile"));
    }
    Ok(text)
}
