//! Tidy: the rules of the project that no compiler knows. Each failure names the place and says what to do.

mod source;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use workspace::{architecture, cargo, files, packages, root};

/// The longest file and function, lines.
const FILE_MAX: usize = 800;
const FUNCTION_MAX: usize = 70;
/// What was longer when the rule came. It may only shrink.
const RATCHET: &str = "xtask/tidy-ratchet.txt";

/// Crates that are functions of their input.
const WITHOUT_CLOCKS: &[&str] = &["wire", "node", "scenario", "ledger", "run", "sim"];
/// What their clippy.toml must forbid, at least.
const FORBIDDEN_CALLS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::collections::HashMap",
    "std::collections::HashSet",
];
/// Which crates alone may use a library.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rdkafka", &["load", "xtask"]),
    ("tokio", &["cluster", "engine", "ingest", "load", "metricstream", "xtask"]),
    ("clap", &["metricstream", "xtask"]),
];

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|(name, _)| name.ends_with(".rs"));
    let read: Vec<(String, String)> =
        rust.map(|(name, path)| (name, fs::read_to_string(path).expect("a source is text"))).collect();
    assert!(read.len() > 100, "the sources were found: {}", read.len());
    read
}

#[test]
fn every_module_says_what_lives_there() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(&silent.map(|(name, _)| format!("{name}: begin it with //! and what lives there")).collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short_and_what_is_not_only_shrinks() {
    let mut long = BTreeMap::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_MAX {
            long.insert(name.clone(), lines);
        }
        for function in source::functions(&text).into_iter().filter(|f| f.lines > FUNCTION_MAX) {
            let longest = long.entry(format!("{name}::{}", function.name)).or_insert(0);
            *longest = function.lines.max(*longest);
        }
    }
    let text = fs::read_to_string(root().join(RATCHET)).expect(RATCHET);
    let entries = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (name, lines) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{RATCHET}: {line:?}: name and lines"));
        (name.to_owned(), lines.parse().unwrap_or_else(|_| panic!("{RATCHET}: {line:?}: no number of lines")))
    };
    let allowed: BTreeMap<String, usize> = entries.map(entry).collect();
    let mut problems = Vec::new();
    for (name, lines) in &long {
        match allowed.get(name) {
            None => {
                problems.push(format!("{name}: {lines} lines; split it ({FILE_MAX} a file, {FUNCTION_MAX} a function)"))
            }
            Some(was) if lines > was => problems.push(format!("{name}: {lines} lines; it grew from {was}: split it")),
            Some(was) if lines < was => {
                problems.push(format!("{RATCHET}: {name} has shrunk to {lines}: write that down"))
            }
            Some(_) => {}
        }
    }
    let short = allowed.keys().filter(|name| !long.contains_key(*name));
    problems.extend(short.map(|name| format!("{RATCHET}: {name} is short now, or gone: remove its line")));
    none(&problems);
}

#[test]
fn the_table_of_crates_in_architecture_md_is_what_cargo_builds() {
    let (packages, table) = (packages(), architecture());
    let names: BTreeSet<&String> = packages.iter().map(|package| &package.name).collect();
    let mut problems = Vec::new();
    for package in &packages {
        let Some(cell) = table.get(&package.name) else {
            problems.push(format!("ARCHITECTURE.md: the table lacks {}", package.name));
            continue;
        };
        if matches!(cell.as_str(), "all" | "any") {
            continue;
        }
        let wanted: BTreeSet<String> =
            cell.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "–").collect();
        let of_workspace = |all: &BTreeSet<String>| all.iter().filter(|n| names.contains(n)).cloned().collect();
        let built: BTreeSet<String> = of_workspace(&package.dependencies);
        if built != wanted {
            problems.push(format!("{} depends on {built:?}; ARCHITECTURE.md says {wanted:?}", package.name));
        }
        let tests: BTreeSet<String> = of_workspace(&package.dev_dependencies);
        let beyond: Vec<&String> = tests.difference(&wanted).filter(|name| **name != package.name).collect();
        if !beyond.is_empty() {
            problems.push(format!("tests of {} depend on {beyond:?}; ARCHITECTURE.md says {wanted:?}", package.name));
        }
    }
    let gone = table.keys().filter(|name| !names.contains(name));
    problems.extend(gone.map(|name| format!("ARCHITECTURE.md: the table has {name}, which is no crate")));
    for (library, allowed) in ONLY_IN {
        let others = packages.iter().filter(|p| p.dependencies.contains(*library) && !allowed.contains(&&*p.name));
        problems.extend(others.map(|p| format!("{} depends on {library}: that is for {allowed:?}", p.name)));
    }
    none(&problems);
}

#[test]
fn crates_without_clocks_have_clippy_forbid_them() {
    let mut problems = Vec::new();
    for package in packages().iter().filter(|package| WITHOUT_CLOCKS.contains(&&*package.name)) {
        let text = fs::read_to_string(package.folder.join("clippy.toml")).unwrap_or_default();
        let missing = FORBIDDEN_CALLS.iter().filter(|call| !text.contains(&format!("path = \"{call}\"")));
        problems.extend(missing.map(|call| format!("crates/{}/clippy.toml must forbid {call}", package.name)));
    }
    none(&problems);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without = packages().into_iter().filter(|package| {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml")).expect("a manifest");
        !manifest.contains("[lints]\nworkspace = true\n")
    });
    none(&without.map(|p| format!("{}: Cargo.toml lacks [lints] workspace = true", p.name)).collect::<Vec<_>>());
}

#[test]
fn no_line_names_a_place_that_only_one_machine_has() {
    // In two pieces each, so that this list does not find itself.
    let places = [("/ho", "me/"), ("/ro", "ot/"), ("/Use", "rs/"), ("/wo", "rk/"), ("/t", "mp/"), ("C:", "\\")];
    let mut problems = Vec::new();
    for (name, path) in files() {
        // What is no text names no place.
        let Ok(text) = fs::read_to_string(path) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            for place in places.map(|(first, second)| format!("{first}{second}")) {
                let absolute = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c));
                if line.match_indices(&place).any(|(at, _)| absolute(at)) {
                    problems.push(format!("{name}:{number}: names {place}: {}", line.trim()));
                }
            }
        }
    }
    none(&problems);
}

/// Cargo unifies the features of what it builds at one time. Where the tests' dependencies ask for more of a crate than
/// the binary's do, `cargo build` and then `cargo test --workspace` build that crate twice, and all that depend on it.
#[test]
fn what_the_binary_is_built_from_is_built_once_for_the_tests_too() {
    let built = |what: &[&str]| -> BTreeSet<String> {
        let tree = cargo(&[&["tree", "--prefix", "none", "--format", "{p} with features: {f}"], what].concat());
        tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let tests = built(&["--workspace", "--edges", "normal,build,dev"]);
    let mut problems = Vec::new();
    for package in ["metricstream", "xtask"] {
        let alone = built(&["--package", package, "--edges", "normal,build"]);
        assert!(alone.len() > 50, "the tree was read: {alone:?}");
        for unit in alone.difference(&tests) {
            let name = unit.split(' ').next().unwrap_or_default();
            let of_tests = tests.iter().filter(|other| other.split(' ').next() == Some(name));
            problems.push(format!(
                "{package} builds {unit}\n  the tests build {}\n  let {package}'s Cargo.toml ask for the same features",
                of_tests.cloned().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    none(&problems);
}
