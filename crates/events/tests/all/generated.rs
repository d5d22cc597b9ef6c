//! The committed code is what the committed proto files say.
//!
//! `MILLRACE_REGENERATE=1 cargo test -p millrace-events --test all generated` writes it anew.

use std::path::{Path, PathBuf};

use prost::Message as _;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn generate(out: &Path) {
    let proto = root().join("proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(proto.join("millrace/events/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(proto.join("io/cloudevents/v1/cloudevents.proto"));
    files.sort();
    let descriptors = protox::compile(&files, [&proto]).unwrap();
    std::fs::write(out.join("descriptors.bin"), {
        // Comments are for the generated code only; without them the descriptors are small.
        let mut plain = descriptors.clone();
        for file in &mut plain.file {
            file.source_code_info = None;
        }
        plain.encode_to_vec()
    })
    .unwrap();
    prost_build::Config::new().btree_map(["."]).out_dir(out).compile_fds(descriptors).unwrap();
}

#[test]
fn generated_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = std::env::temp_dir().join(format!("millrace-events-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).unwrap();
    generate(&fresh);
    let names = ["millrace.events.v1.rs", "io.cloudevents.v1.rs", "descriptors.bin"];
    if std::env::var_os("MILLRACE_REGENERATE").is_some() {
        for name in names {
            std::fs::copy(fresh.join(name), committed.join(name)).unwrap();
        }
    }
    for name in names {
        let made = std::fs::read(fresh.join(name)).unwrap();
        let stands = std::fs::read(committed.join(name)).unwrap_or_default();
        assert!(made == stands, "{name} is out of date: MILLRACE_REGENERATE=1 cargo test -p millrace-events");
    }
    std::fs::remove_dir_all(&fresh).unwrap();
}
