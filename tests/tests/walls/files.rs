//! Sizes and contents of the files in the repository, those not yet committed included.

use std::path::PathBuf;
use std::process::Command;

use crate::{assert_none, root};

/// Lines of a source file before its tests.
const SOURCE_LINES_MAX: usize = 500;

/// Bytes of any file: larger ones belong beside the repository, or are made by a command.
const FILE_BYTES_MAX: u64 = 500_000;

/// Beginnings of paths that mean one particular machine. In pieces, so that this file does not contain them.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// What git would commit: tracked files and new ones that are not ignored.
fn repository_files() -> Vec<PathBuf> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().expect("git answers");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    files.filter(|file| root().join(file).is_file()).collect()
}

/// The text files, with their text.
fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    repository_files().into_iter().filter_map(|file| {
        let bytes = std::fs::read(root().join(&file)).ok()?;
        String::from_utf8(bytes).ok().map(|text| (file, text))
    })
}

#[test]
fn source_files_are_short() {
    let is_source =
        |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs");
    let sources = texts().filter(|(file, _)| is_source(file));
    let offenders: Vec<String> = sources
        .map(|(file, text)| (file, text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()))
        .filter(|(_, lines)| *lines > SOURCE_LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines before its tests", file.display()))
        .collect();
    assert_none("source files too long to keep in mind", &offenders);
}

#[test]
fn files_are_small() {
    let offenders: Vec<String> = repository_files()
        .into_iter()
        .filter_map(|file| std::fs::metadata(root().join(&file)).ok().map(|metadata| (file, metadata.len())))
        .filter(|(_, bytes)| *bytes > FILE_BYTES_MAX)
        .map(|(file, bytes)| format!("{}: {bytes} bytes", file.display()))
        .collect();
    assert_none("files too large for the repository", &offenders);
}

#[test]
fn no_file_names_a_machines_paths() {
    let mut offenders = Vec::new();
    for (file, text) in texts() {
        let lines = text.lines().enumerate().filter(|(_, line)| MACHINE_PATHS.iter().any(|path| line.contains(path)));
        offenders.extend(lines.map(|(at, line)| format!("{}:{}: {}", file.display(), at + 1, line.trim())));
    }
    assert_none("paths that exist on one machine only", &offenders);
}
