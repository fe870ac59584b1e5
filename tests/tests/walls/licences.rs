//! Where dependencies come from and under which terms. The product is Apache-2.0 and links them all.

use crate::assert_none;
use crate::graph::all;

/// Terms that ask for no more than a notice. Identifiers of the SPDX list.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_licence_is_permissive() {
    let offenders: Vec<String> = all()
        .filter(|package| !package.license.as_deref().is_some_and(is_permissive))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert_none("licences outside the list", &offenders);
}

#[test]
fn dependencies_come_from_the_registry() {
    let offenders: Vec<String> = all()
        .filter_map(|package| package.source.as_ref().map(|source| format!("{}: {}", package.name, source.repr)))
        .filter(|line| !line.ends_with("registry+https://github.com/rust-lang/crates.io-index"))
        .collect();
    assert_none("sources other than the registry and this workspace", &offenders);
}

/// Whether the terms can be met within the list: one side of an `OR`, both sides of an `AND`. `/` is the old `OR`.
/// Anything unreadable is refused.
fn is_permissive(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = any_side(&mut rest);
    rest.is_empty() && verdict == Some(true)
}

fn any_side(rest: &mut &[&str]) -> Option<bool> {
    let mut verdict = all_sides(rest)?;
    while take(rest, "OR") {
        verdict |= all_sides(rest)?;
    }
    Some(verdict)
}

fn all_sides(rest: &mut &[&str]) -> Option<bool> {
    let mut verdict = term(rest)?;
    while take(rest, "AND") {
        verdict &= term(rest)?;
    }
    Some(verdict)
}

fn term(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let verdict = any_side(rest)?;
        return take(rest, ")").then_some(verdict);
    }
    let (identifier, after) = rest.split_first()?;
    *rest = after;
    if !take(rest, "WITH") {
        return Some(PERMISSIVE.contains(identifier));
    }
    let (exception, after) = rest.split_first()?;
    *rest = after;
    Some(PERMISSIVE.contains(&format!("{identifier} WITH {exception}").as_str()))
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR GPL-2.0-only) AND Unicode-3.0"] {
        assert!(is_permissive(good), "{good}");
    }
    assert!(is_permissive("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only"));
    for bad in ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT OR", "(MIT", "MIT MIT", "MIT WITH some-exception"] {
        assert!(!is_permissive(bad), "{bad}");
    }
    assert!(!is_permissive("MIT AND (GPL-2.0-only OR LGPL-2.1-only)"));
}
