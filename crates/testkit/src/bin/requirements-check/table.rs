//! The table `docs/requirements.csv`: header `id,status,where,test,note`, fields quoted as in RFC 4180.

/// One line of the table. `place` and `tests` hold the entries of their `;`-separated cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// 1-based line in the file.
    pub line: usize,
    pub id: String,
    pub status: String,
    pub place: Vec<String>,
    pub tests: Vec<TestEntry>,
    pub note: String,
}

/// A test's path; `[data]` behind it says that the test skips itself without the public data sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestEntry {
    pub path: String,
    pub needs_data: bool,
}

const HEADER: &str = "id,status,where,test,note";
const DATA_SUFFIX: &str = "[data]";

/// The rows in file order, or the first line that is not five cells.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEADER) {
        return Err(format!("the first line must be {HEADER}"));
    }
    lines.filter(|(_, line)| !line.is_empty()).map(|(at, line)| row(at + 1, line)).collect()
}

fn row(line: usize, text: &str) -> Result<Row, String> {
    let cells = cells(text).ok_or_else(|| format!("line {line}: an unfinished quote"))?;
    let [id, status, place, tests, note]: [String; 5] =
        cells.try_into().map_err(|cells: Vec<_>| format!("line {line}: {} cells instead of 5", cells.len()))?;
    let tests = entries(&tests).map(|entry| test_entry(&entry)).collect();
    Ok(Row { line, id, status, place: entries(&place).collect(), tests, note: note.trim().to_owned() })
}

fn entries(cell: &str) -> impl Iterator<Item = String> {
    cell.split(';').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned)
}

fn test_entry(entry: &str) -> TestEntry {
    match entry.strip_suffix(DATA_SUFFIX) {
        Some(path) => TestEntry { path: path.trim_end().to_owned(), needs_data: true },
        None => TestEntry { path: entry.to_owned(), needs_data: false },
    }
}

/// The cells of one line; `None` when a quote stays open.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let cell = cells.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    (!quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(line: &str) -> String {
        format!("{HEADER}\n{line}\n")
    }

    #[test]
    fn reads_quoted_cells_lists_and_the_data_mark() {
        let text = with_header("R-001,done,\"a.rs; b.rs\",\"x::a;x::b [data]\",\"said, \"\"so\"\"\"");
        let row = &parse(&text).unwrap()[0];
        assert_eq!((row.line, row.id.as_str(), row.status.as_str()), (2, "R-001", "done"));
        assert_eq!(row.place, ["a.rs", "b.rs"]);
        let tests: Vec<_> = row.tests.iter().map(|entry| (entry.path.as_str(), entry.needs_data)).collect();
        assert_eq!(tests, [("x::a", false), ("x::b", true)]);
        assert_eq!(row.note, "said, \"so\"");
    }

    #[test]
    fn refuses_what_is_not_the_table() {
        assert!(parse("id,status\n").is_err());
        assert!(parse(&with_header("R-001,done,,")).unwrap_err().contains("line 2"));
        assert!(parse(&with_header("R-001,done,,,\"open")).unwrap_err().contains("quote"));
    }
}
