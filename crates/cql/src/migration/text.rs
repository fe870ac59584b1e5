//! The files, and what is in them.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// A file of statements that are applied once, in order. Each can be applied again without harm, in case the process ends between a
/// statement and the note that it is done.
#[derive(Debug, Clone)]
pub struct Migration {
    /// `NNNN_name.cql`; the order of names is the order of application.
    pub file: Cow<'static, str>,
    /// The file's text.
    pub text: Cow<'static, str>,
}

macro_rules! files {
    ($($file:literal),+ $(,)?) => {
        &[$(Migration {
            file: Cow::Borrowed($file),
            text: Cow::Borrowed(include_str!(concat!("../../../../migrations/", $file))),
        }),+]
    };
}

/// All migrations, in order. The first makes the tables that the others are noted in.
pub const ALL: &[Migration] =
    files!["0000_bookkeeping.cql", "0001_tables.cql", "0002_device_authentication.cql", "0003_actions.cql"];

impl Migration {
    /// SHA-256 of the text, in hexadecimal.
    #[must_use]
    pub fn checksum(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The statements, without comments and without the semicolons between them.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let mut statements = vec![String::new()];
        let (mut quoted, mut rest) = (false, self.text.chars().peekable());
        while let Some(letter) = rest.next() {
            let comment = !quoted && letter == '-' && rest.peek() == Some(&'-');
            if comment {
                rest.by_ref().find(|letter| *letter == '\n');
            } else if letter == ';' && !quoted {
                statements.push(String::new());
            } else {
                quoted ^= letter == '\'';
                statements.last_mut().into_iter().for_each(|statement| statement.push(letter));
            }
        }
        statements.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_where_cql_splits_them() {
        let text = "-- a; comment\nCREATE TABLE a (x text); -- and ' another\n\n  DROP TABLE b WITH c = 'x;--''y';;\n";
        let migration = Migration { file: "0009_x.cql".into(), text: text.into() };
        assert_eq!(migration.statements(), ["CREATE TABLE a (x text)", "DROP TABLE b WITH c = 'x;--''y'"]);
        assert!(Migration { file: "0009_x.cql".into(), text: "-- nothing".into() }.statements().is_empty());
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_list_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".cql"))
            .collect();
        files.sort();
        assert_eq!(ALL.iter().map(|migration| &migration.file[..]).collect::<Vec<_>>(), files);
        for (number, file) in files.iter().enumerate() {
            assert!(file.starts_with(&format!("{number:04}_")), "{file}");
        }
    }

    /// A process can end between a statement and the note that it is done.
    #[test]
    fn every_statement_may_run_twice() {
        for migration in ALL {
            assert!(!migration.statements().is_empty(), "{}", migration.file);
            for statement in migration.statements() {
                assert!(statement.starts_with("CREATE TABLE IF NOT EXISTS "), "{}: {statement}", migration.file);
            }
        }
    }
}
