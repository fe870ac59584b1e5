//! What goes to people: results to standard output, remarks to standard error. A reader that has gone ends nothing.

use std::io::Write as _;

/// A line of the result.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A remark beside the result.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Why the command failed.
pub(crate) fn problem(text: &str) {
    remark(text);
}

/// A result as JSON, indented for people on a terminal.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    let pretty = std::io::stdout().is_terminal();
    line(&if pretty { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? });
    Ok(())
}
