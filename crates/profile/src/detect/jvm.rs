//! Maven and Gradle.

use super::Found;
use crate::profile::Purpose;
use crate::scan::{Scan, join};

const GRADLE: [&str; 4] = ["settings.gradle.kts", "settings.gradle", "build.gradle.kts", "build.gradle"];

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    for home in scan.homes("pom.xml") {
        maven(scan, found, home);
    }
    let homes = GRADLE.iter().flat_map(|name| scan.homes(name)).collect();
    for home in crate::scan::topmost(homes) {
        gradle(scan, found, home);
    }
}

fn maven(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let file = join(home, "pom.xml");
    let text = scan.text(&file).unwrap_or_default();
    let program = if scan.has(&join(home, "mvnw")) { "./mvnw -B" } else { "mvn -B" };
    // Maven has no lockfile; versions stand in the manifest.
    found.manager("maven", home, &file, Some(file.clone()));
    found.command(Purpose::Setup, format!("{program} dependency:go-offline"), home, &file);
    found.command(Purpose::Build, format!("{program} -DskipTests package"), home, &file);
    found.command(Purpose::Test, format!("{program} test"), home, &file);
    jvm_tools(found, &text, &file);
    if text.contains("maven-checkstyle-plugin") {
        found.command(Purpose::Lint, format!("{program} checkstyle:check"), home, &file);
    }
    if text.contains("spotless-maven-plugin") {
        found.command(Purpose::Format, format!("{program} spotless:check"), home, &file);
    }
    if text.contains("jacoco") {
        found.command(Purpose::Coverage, format!("{program} verify"), home, &file);
    }
    for name in ["maven.compiler.release", "java.version", "maven.compiler.source"] {
        if let Some(version) = element(&text, name).next() {
            found.toolchain("java", version, &file);
            break;
        }
    }
    for module in element(&text, "module") {
        let directory = join(home, module);
        let manifest = join(&directory, "pom.xml");
        if scan.has(&manifest) {
            found.package(&directory, None, &manifest);
        }
    }
}

/// What stands between `<name>` and `</name>`, each time.
fn element<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (value, after) = after.split_once(close.as_str())?;
        rest = after;
        Some(value.trim())
    })
}

fn gradle(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let Some(file) = scan.first(home, &GRADLE) else { return };
    let builds = ["build.gradle.kts", "build.gradle"];
    let build = scan.first(home, &builds);
    let text = build.as_deref().and_then(|path| scan.text(path)).unwrap_or_default();
    let program = if scan.has(&join(home, "gradlew")) { "./gradlew" } else { "gradle" };
    let file = build.unwrap_or(file);
    found.manager("gradle", home, &file, scan.in_directory(home, "gradle.lockfile"));
    found.command(Purpose::Setup, format!("{program} dependencies"), home, &file);
    found.command(Purpose::Build, format!("{program} assemble"), home, &file);
    found.command(Purpose::Test, format!("{program} test"), home, &file);
    jvm_tools(found, &text, &file);
    if text.contains("checkstyle") || text.contains("detekt") || text.contains("ktlint") {
        found.command(Purpose::Lint, format!("{program} check -x test"), home, &file);
    }
    if text.contains("spotless") {
        found.command(Purpose::Format, format!("{program} spotlessCheck"), home, &file);
    }
    if text.contains("jacoco") {
        found.command(Purpose::Coverage, format!("{program} jacocoTestReport"), home, &file);
    }
    if let Some(path) = scan.in_directory(home, ".java-version") {
        let version = scan.text(&path).unwrap_or_default();
        found.toolchain("java", version.lines().next().unwrap_or_default(), &path);
    }
    let settings = scan.first(home, &["settings.gradle.kts", "settings.gradle"]);
    let settings = settings.and_then(|path| scan.text(&path)).unwrap_or_default();
    for name in settings.lines().filter(|line| line.trim_start().starts_with("include")).flat_map(quoted) {
        let directory = join(home, &name.trim_start_matches(':').replace(':', "/"));
        if let Some(manifest) = scan.first(&directory, &builds) {
            found.package(&directory, None, &manifest);
        }
    }
}

/// The texts in quotes on a line.
fn quoted(line: &str) -> Vec<String> {
    line.split(['"', '\'']).skip(1).step_by(2).map(str::to_owned).collect()
}

fn jvm_tools(found: &mut Found, text: &str, file: &str) {
    let named = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if named(&["junit", "useJUnitPlatform"]) {
        found.runner("junit", file);
    }
    if named(&["testng", "useTestNG"]) {
        found.runner("testng", file);
    }
    if named(&["jacoco"]) {
        found.coverage("jacoco", file);
    }
}
