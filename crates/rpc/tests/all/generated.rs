//! The committed code is what the committed proto files say.
//!
//! `MILLRACE_REGENERATE=1 cargo test -p millrace-rpc --test all generated` writes it anew.

use std::path::{Path, PathBuf};

fn generate(out: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(proto.join("millrace/v1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let descriptors = protox::compile(&files, [&proto]).unwrap();
    let mut plain = descriptors.clone();
    for file in &mut plain.file {
        // Comments are for the generated code only; without them the descriptors are small.
        file.source_code_info = None;
    }
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&plain)).unwrap();
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .btree_map(".")
        .build_transport(false)
        .out_dir(out)
        .compile_fds_with_config(descriptors, config)
        .unwrap();
}

#[test]
fn generated_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let names = ["millrace.v1.rs", "descriptors.bin"];
    if std::env::var_os("MILLRACE_REGENERATE").is_some() {
        for name in names {
            std::fs::copy(fresh.path().join(name), committed.join(name)).unwrap();
        }
    }
    for name in names {
        let made = std::fs::read(fresh.path().join(name)).unwrap();
        let stands = std::fs::read(committed.join(name)).unwrap_or_default();
        assert!(made == stands, "{name} is out of date: MILLRACE_REGENERATE=1 cargo test -p millrace-rpc");
    }
}
