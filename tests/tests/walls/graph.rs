//! The dependency graph as cargo resolved it for this machine's platform.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Read once for all tests of this binary.
static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let options = ["--locked", "--filter-platform", &host()].map(str::to_owned);
    MetadataCommand::new()
        .manifest_path(crate::root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo metadata answers")
});

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc answers");
    let text = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc names its host").to_owned()
}

/// Every package in the graph, the workspace's own included.
pub(crate) fn all() -> impl Iterator<Item = &'static Package> {
    let resolve = METADATA.resolve.as_ref().expect("cargo metadata resolves");
    let used: BTreeSet<&PackageId> = resolve.nodes.iter().map(|node| &node.id).collect();
    METADATA.packages.iter().filter(move |package| used.contains(&package.id))
}

/// The workspace's own packages.
pub(crate) fn members() -> Vec<&'static Package> {
    METADATA.workspace_packages()
}

/// Names of what `package` links or builds with directly. Dev-dependencies do not count.
pub(crate) fn direct(package: &Package) -> BTreeSet<&str> {
    let product = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    product.map(|dependency| dependency.name.as_str()).collect()
}

/// Names of everything that ends up in a binary with this package and no other. Asked of `cargo tree`, because the
/// metadata hold the features of the whole workspace: what one crate switches on would show in all.
pub(crate) fn linked(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"];
    let output = Command::new(cargo).args(arguments).current_dir(crate::root()).output().expect("cargo answers");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
