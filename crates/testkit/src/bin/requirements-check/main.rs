//! `requirements-check TABLE FOLDER`: compares `docs/requirements.csv` with what the tests of this run recorded.
//!
//! TABLE is the table, its `where` paths are relative to the current folder; FOLDER holds the files that `covers!` wrote.
//! Prints the counts by status and exits 0, or one line for each discrepancy and exits 1.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool: its output is its purpose")]

mod check;
mod table;

use std::path::Path;
use std::process::ExitCode;

use check::Run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, folder] = arguments.as_slice() else {
        eprintln!("usage: requirements-check TABLE FOLDER");
        return ExitCode::from(2);
    };
    match compare(Path::new(table), Path::new(folder)) {
        Ok(discrepancies) if discrepancies.is_empty() => ExitCode::SUCCESS,
        Ok(discrepancies) => {
            for line in &discrepancies {
                println!("requirements: {line}");
            }
            println!("requirements: {} discrepancies", discrepancies.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("requirements-check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(table: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(table).map_err(|error| format!("{}: {error}", table.display()))?;
    let rows = table::parse(&text)?;
    let run = Run {
        recorded: recorded(folder).map_err(|error| format!("{}: {error}", folder.display()))?,
        data_present: std::env::var_os(ridgeline_testkit::covers::TEST_DATA_VAR).is_some_and(|value| !value.is_empty()),
    };
    println!("requirements: {}", check::summary(&rows));
    Ok(check::discrepancies(&rows, &run, |path| Path::new(path).exists()))
}

/// Every `id,test` line of every file in the folder.
fn recorded(folder: &Path) -> std::io::Result<check::Recorded> {
    let mut pairs = check::Recorded::new();
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        let lines = text.lines().filter_map(|line| line.split_once(','));
        pairs.extend(lines.map(|(id, test)| (id.to_owned(), test.to_owned())));
    }
    Ok(pairs)
}
