//! Nothing that a repository holds makes the profile or the index fail.

use millrace_profile::{
    Change, Citation, Edit, Folder, Index, Memory, NoCommandPolicy, Tree as _, detect_in, dry_run, gate,
    ground,
};

use crate::fixtures;

/// A small generator: the same numbers for the same seed, everywhere (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

const NAMES: &[&str] = &[
    ".millrace.toml",
    "Cargo.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "package.json",
    "pnpm-workspace.yaml",
    ".nvmrc",
    "pyproject.toml",
    "requirements.txt",
    "tox.ini",
    ".python-version",
    "go.mod",
    "go.work",
    "pom.xml",
    "build.gradle.kts",
    "settings.gradle",
    "Makefile",
    "justfile",
    "CMakeLists.txt",
    "Gemfile",
    "composer.json",
    "global.json",
    "a.csproj",
    "CODEOWNERS",
    ".github/workflows/ci.yml",
    ".gitlab-ci.yml",
    ".circleci/config.yml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "a.rs",
    "a.py",
    "a.js",
    "a.ts",
    "a.tsx",
    "a.go",
    "A.java",
    "tests/a.bats",
    "script",
    ".gitignore",
];

/// Files of a fixture, or snippets of their syntax, cut, doubled and with bytes changed.
fn damaged(numbers: &mut Numbers, sound: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match numbers.below(3) {
        0 => (0..numbers.below(400)).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect(),
        _ => sound[numbers.below(sound.len())].clone(),
    };
    for _ in 0..numbers.below(8) {
        if bytes.is_empty() {
            break;
        }
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            2 => bytes.extend_from_within(at..),
            _ => drop(bytes.splice(at..at, *b"[[{\"(<'")),
        }
        bytes.truncate(20_000);
    }
    bytes
}

#[test]
fn no_bytes_make_it_fail() {
    let mut sound: Vec<Vec<u8>> = Vec::new();
    for (_, root) in fixtures::all() {
        let tree = Folder::working_copy(root).unwrap();
        sound.extend(tree.files().iter().filter_map(|entry| tree.read(&entry.path, 20_000)));
    }
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let files: Vec<(String, Vec<u8>)> = (0..1 + numbers.below(12))
            .map(|_| {
                let name = NAMES[numbers.below(NAMES.len())];
                let folder = ["", "a/", "b c/", "a/ü/"][numbers.below(4)];
                (format!("{folder}{name}"), damaged(&mut numbers, &sound))
            })
            .collect();
        let (path, bytes) = files[0].clone();
        let tree = Memory::new(files);
        let profile = detect_in(&tree);
        profile.to_yaml().unwrap();
        drop(gate(&profile));
        let index = Index::of_tree(&tree);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        drop(ground(&[Citation::symbol(text.clone()), Citation::file(text.clone())], &index));
        drop(index.anchors(&text, 5));
        let edits = vec![
            Edit::Write { path: text.clone(), content: text.clone() },
            Edit::Replace { path, find: text.chars().take(3).collect(), replace: text },
        ];
        for edit in edits {
            let change = Change { edits: vec![edit], commands: Vec::new() };
            drop(dry_run(&tree, &profile, &change, &NoCommandPolicy));
        }
    }
}

/// Nested structures of every format, and a document that grows when it is read.
#[test]
fn depth_and_aliases_are_bounded() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(30_000), close.repeat(30_000));
    let mut aliases = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        aliases += &format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1);
    }
    let tree = Memory::new([
        ("package.json", deep("[", "]")),
        ("composer.json", deep("{\"a\":", "}")),
        ("Cargo.toml", format!("a = {}", deep("[", "]"))),
        (".gitlab-ci.yml", deep("[", "]")),
        (".github/workflows/a.yml", aliases),
        ("azure-pipelines.yml", "steps:\n".to_owned() + &"- ".repeat(5_000)),
        ("a.ts", deep("{", "}")),
        ("a.java", "class A {".repeat(5_000)),
        ("a.rs", "mod a {".repeat(20_000)),
        ("sound.go", "package a\nfunc Found() {}\n".to_owned()),
    ]);
    let profile = detect_in(&tree);
    assert_eq!(profile.package_managers.len(), 3);
    assert_eq!(Index::of_tree(&tree).find_symbol(Some("sound.go"), "Found").len(), 1, "the rest goes on");
}
