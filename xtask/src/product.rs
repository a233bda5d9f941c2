//! Building and starting the product as a developer does, through cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Cargo, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs a command to its end.
///
/// # Errors
/// If it does not start, or does not succeed.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// Builds the product's binary, optimised or not, and says where it is.
///
/// # Errors
/// If it does not build.
pub(crate) fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--package", "metricstream"]);
    if release {
        command.arg("--release");
    }
    succeed(&mut command)?;
    let folder = if release { "release" } else { "debug" };
    let program = target().join(folder).join("metricstream");
    if !program.exists() {
        bail!("{} was not built", program.display());
    }
    Ok(program)
}

/// Takes a folder of an earlier time away.
///
/// # Errors
/// If it stays.
pub(crate) fn clear(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(())
}

/// Cargo's output folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Measurements want optimised code: if this program is not, it is built so and run instead.
///
/// # Errors
/// If that fails; whatever it measured it has told then.
pub(crate) fn in_release(measure: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if !cfg!(debug_assertions) {
        return measure();
    }
    eprintln!("building with --release");
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--quiet", "--package", "xtask", "--"]);
    command.args(std::env::args_os().skip(1));
    succeed(&mut command)
}
