//! Every public error code has its page, and every page its code.

use std::collections::BTreeSet;

use ridgeline_domain::ErrorCode;

use crate::{assert_none, root};

/// The page's shape: title, HTTP status, what happened, what to do.
#[test]
fn every_error_code_has_a_page() {
    ridgeline_testkit::covers!("R-318");
    let mut offenders = Vec::new();
    for code in ErrorCode::ALL {
        let file = root().join(format!("docs/errors/{code}.md"));
        let page = std::fs::read_to_string(&file).unwrap_or_default();
        let title = format!("# {code}: {}\n", code.title());
        let status = format!("\nHTTP status {}", code.http_status());
        for part in [&title, &status, "\n## What happened\n", "\n## What to do\n"] {
            if !page.contains(part) {
                offenders.push(format!("docs/errors/{code}.md lacks {part:?}"));
            }
        }
    }
    assert_none("error codes without their page", &offenders);
}

#[test]
fn every_page_belongs_to_a_code() {
    let codes: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| format!("{code}.md")).collect();
    let pages = std::fs::read_dir(root().join("docs/errors")).expect("docs/errors exists");
    let offenders: Vec<String> = pages
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| name != "README.md" && !codes.contains(name))
        .collect();
    assert_none("pages of no error code", &offenders);
}
