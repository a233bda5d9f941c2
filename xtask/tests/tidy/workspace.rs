//! What cargo says of the workspace, and the files that belong to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Runs cargo in the workspace, never over the network.
pub(crate) fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo).args(args).args(["--locked", "--offline"]).current_dir(root()).output();
    let said = said.expect("cargo starts");
    assert!(said.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("UTF-8")
}

/// One crate of the workspace.
pub(crate) struct Package {
    /// As ARCHITECTURE.md calls it: without `metricstream-`.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// What it is built from, tests aside: short names of the workspace's crates, and full names of others.
    pub(crate) dependencies: BTreeSet<String>,
    /// What only its tests are built from.
    pub(crate) dev_dependencies: BTreeSet<String>,
}

pub(crate) fn packages() -> Vec<Package> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let package = |package: &Value| {
        let names = |dev: bool| {
            let dependencies = list(&package["dependencies"]).into_iter();
            let wanted = dependencies.filter(|dependency| (dependency["kind"].as_str() == Some("dev")) == dev);
            wanted.map(|dependency| short(&text(&dependency["name"]))).collect()
        };
        Package {
            name: short(&text(&package["name"])),
            folder: PathBuf::from(text(&package["manifest_path"])).parent().expect("a folder").to_path_buf(),
            dependencies: names(false),
            dev_dependencies: names(true),
        }
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("metricstream-").unwrap_or(name).to_owned()
}

/// The table of crates in ARCHITECTURE.md: name to what it says that the crate depends on.
pub(crate) fn architecture() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "four columns: {line}");
        (cells[1].trim_matches('`').to_owned(), cells[3].to_owned())
    };
    rows.map(row).collect()
}

/// Every file of the project that somebody wrote, by its path within the workspace.
pub(crate) fn files() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    const LEFT_OUT: &[&str] = &[".git", "target", "runs", "Cargo.lock"];
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let within = path.strip_prefix(root).expect("below it").to_string_lossy().into_owned();
            found.push((within, path));
        }
    }
}
