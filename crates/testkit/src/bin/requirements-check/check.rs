//! The rules. Pure: rows and what ran in, discrepancies out.

use std::collections::{BTreeMap, BTreeSet};

use ridgeline_testkit::covers::IDS_PER_TEST_MAX;

use crate::table::Row;

/// Ids run from `R-001` to this number without a gap.
const LAST_ID: usize = 319;

const STATUSES: [&str; 4] = ["done", "partial", "planned", "declined"];

/// Pairs of requirement id and test path.
pub(crate) type Recorded = BTreeSet<(String, String)>;

/// What the tests of one green run recorded, and whether those that need the public data sets could run.
pub(crate) struct Run {
    pub recorded: Recorded,
    pub data_present: bool,
}

/// One line for each rule broken, empty when the table tells the truth about the run:
/// 1. every id from `R-001` to the last stands there once, with a known status;
/// 2. every row that is not `done` has a note (why only partly, why not, or which area it waits for);
/// 3. a `done` row names a test; `done` and `partial` rows name existing places;
/// 4. every test that a row names was recorded for its id in this run. One marked `[data]` is excused while the data
///    sets are absent, not otherwise;
/// 5. everything recorded is named by its row, which is `done` or `partial`;
/// 6. no test covers more than five requirements.
pub(crate) fn discrepancies(rows: &[Row], run: &Run, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = ids(rows);
    for row in rows {
        found.extend(shape(row, &exists).into_iter().map(|text| format!("line {}: {}: {text}", row.line, row.id)));
    }
    found.extend(rows.iter().flat_map(|row| not_recorded(row, run)));
    found.extend(run.recorded.iter().filter_map(|(id, test)| not_named(rows, id, test)));
    found.extend(too_broad(&run.recorded));
    found
}

/// `12 done, 3 partial, 300 planned, 4 declined of 319`.
pub(crate) fn summary(rows: &[Row]) -> String {
    let counts = STATUSES.map(|status| {
        let count = rows.iter().filter(|row| row.status == status).count();
        format!("{count} {status}")
    });
    format!("{} of {}", counts.join(", "), rows.len())
}

fn ids(rows: &[Row]) -> Vec<String> {
    let mut times: BTreeMap<String, usize> = (1..=LAST_ID).map(|number| (format!("R-{number:03}"), 0)).collect();
    let mut found = Vec::new();
    for row in rows {
        match times.get_mut(&row.id) {
            Some(count) => *count += 1,
            None => found.push(format!("line {}: {}: no such requirement", row.line, row.id)),
        }
    }
    let wrong = times.iter().filter(|(_, count)| **count != 1);
    found.extend(wrong.map(|(id, count)| format!("{id}: stands {count} times in the table instead of once")));
    found
}

fn shape(row: &Row, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let status = row.status.as_str();
    if !STATUSES.contains(&status) {
        found.push(format!("unknown status {status:?}"));
    }
    if status != "done" && row.note.is_empty() {
        found.push(format!("{status} needs a note"));
    }
    if status == "done" && row.tests.is_empty() {
        found.push("done needs a test".to_owned());
    }
    if claims_work(row) && row.place.is_empty() {
        found.push(format!("{status} needs a place"));
    }
    if !claims_work(row) && !row.tests.is_empty() {
        found.push(format!("{status} names a test"));
    }
    found.extend(row.place.iter().filter(|path| !exists(path)).map(|path| format!("{path} does not exist")));
    found
}

fn claims_work(row: &Row) -> bool {
    matches!(row.status.as_str(), "done" | "partial")
}

fn not_recorded(row: &Row, run: &Run) -> Vec<String> {
    let missing = row.tests.iter().filter(|test| {
        let excused = test.needs_data && !run.data_present;
        !excused && !run.recorded.contains(&(row.id.clone(), test.path.clone()))
    });
    missing.map(|test| format!("{}: {} did not prove it in this run", row.id, test.path)).collect()
}

fn not_named(rows: &[Row], id: &str, test: &str) -> Option<String> {
    let row = rows.iter().find(|row| row.id == id);
    let named = row.is_some_and(|row| claims_work(row) && row.tests.iter().any(|entry| entry.path == test));
    (!named).then(|| {
        let status = row.map_or("not in the table", |row| row.status.as_str());
        format!("{id}: covered by {test}, which its row ({status}) does not name")
    })
}

fn too_broad(recorded: &Recorded) -> Vec<String> {
    let mut ids_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, test) in recorded {
        *ids_of.entry(test).or_default() += 1;
    }
    let broad = ids_of.into_iter().filter(|(_, count)| *count > IDS_PER_TEST_MAX);
    broad.map(|(test, count)| format!("{test} covers {count} requirements, more than {IDS_PER_TEST_MAX}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TestEntry;

    fn planned(number: usize) -> Row {
        let id = format!("R-{number:03}");
        let (status, note) = ("planned".to_owned(), "area".to_owned());
        Row { line: number + 1, id, status, place: Vec::new(), tests: Vec::new(), note }
    }

    /// A whole table, all planned, in which the first row is done by test `t::a` in `a.rs`.
    fn table() -> Vec<Row> {
        let mut rows: Vec<Row> = (1..=LAST_ID).map(planned).collect();
        rows[0].status = "done".to_owned();
        rows[0].note.clear();
        rows[0].place = vec!["a.rs".to_owned()];
        rows[0].tests = vec![TestEntry { path: "t::a".to_owned(), needs_data: false }];
        rows
    }

    fn run(pairs: &[(&str, &str)]) -> Run {
        let recorded = pairs.iter().map(|(id, test)| ((*id).to_owned(), (*test).to_owned())).collect();
        Run { recorded, data_present: true }
    }

    fn check(rows: &[Row], run: &Run) -> Vec<String> {
        discrepancies(rows, run, |path| path == "a.rs")
    }

    /// The one discrepancy expected.
    fn only(rows: &[Row], run: &Run) -> String {
        let mut found = check(rows, run);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    fn green() -> Run {
        run(&[("R-001", "t::a")])
    }

    #[test]
    fn a_true_table_has_no_discrepancy() {
        assert_eq!(check(&table(), &green()), Vec::<String>::new());
        assert_eq!(summary(&table()), "1 done, 0 partial, 318 planned, 0 declined of 319");
    }

    #[test]
    fn every_id_stands_once() {
        let mut rows = table();
        rows.remove(318);
        assert!(only(&rows, &green()).contains("R-319: stands 0 times"));
        rows.push(planned(319));
        rows.push(planned(319));
        assert!(only(&rows, &green()).contains("R-319: stands 2 times"));
        rows.pop();
        rows.push(planned(320));
        assert!(only(&rows, &green()).contains("R-320: no such requirement"));
    }

    #[test]
    fn status_and_note_are_checked() {
        for status in ["partial", "planned", "declined"] {
            let mut rows = table();
            rows[4].status = status.to_owned();
            rows[4].place = vec!["a.rs".to_owned()];
            rows[4].note.clear();
            assert!(only(&rows, &green()).contains(&format!("{status} needs a note")));
        }
        let mut rows = table();
        rows[4].status = "finished".to_owned();
        assert!(only(&rows, &green()).contains("unknown status"));
    }

    #[test]
    fn done_needs_a_test_and_an_existing_place() {
        let mut rows = table();
        rows[0].place = vec!["gone.rs".to_owned()];
        assert!(only(&rows, &green()).contains("gone.rs does not exist"));
        rows[0].place.clear();
        assert!(only(&rows, &green()).contains("done needs a place"));
        let mut rows = table();
        rows[0].tests.clear();
        assert!(only(&rows, &run(&[])).contains("done needs a test"));
    }

    #[test]
    fn a_named_test_must_have_proved_it_in_this_run() {
        assert!(only(&table(), &run(&[])).contains("t::a did not prove it"));
        let found = check(&table(), &run(&[("R-001", "t::b")]));
        assert_eq!(found.len(), 2, "{found:#?}");
        let mut rows = table();
        rows[0].status = "partial".to_owned();
        rows[0].note = "half".to_owned();
        assert!(only(&rows, &run(&[])).contains("t::a did not prove it"));
    }

    #[test]
    fn the_data_mark_excuses_only_while_the_data_are_absent() {
        let mut rows = table();
        rows[0].tests[0].needs_data = true;
        assert!(only(&rows, &run(&[])).contains("t::a did not prove it"));
        assert_eq!(check(&rows, &Run { data_present: false, ..run(&[]) }), Vec::<String>::new());
    }

    #[test]
    fn what_ran_must_be_named_by_a_row_that_claims_it() {
        let planned = run(&[("R-001", "t::a"), ("R-002", "t::a")]);
        assert!(only(&table(), &planned).contains("R-002: covered by t::a, which its row (planned)"));
        let unknown = run(&[("R-001", "t::a"), ("R-999", "t::a")]);
        assert!(only(&table(), &unknown).contains("R-999"));
    }

    #[test]
    fn a_planned_row_names_no_test() {
        let mut rows = table();
        rows[0].status = "planned".to_owned();
        rows[0].note = "later".to_owned();
        assert!(check(&rows, &green()).iter().any(|line| line.contains("planned names a test")));
    }

    #[test]
    fn a_test_covers_at_most_five() {
        let mut rows = table();
        for row in &mut rows[0..6] {
            row.status = "done".to_owned();
            row.place = vec!["a.rs".to_owned()];
            row.tests = vec![TestEntry { path: "t::a".to_owned(), needs_data: false }];
        }
        let ids: Vec<String> = (1..=6).map(|number| format!("R-{number:03}")).collect();
        let pairs: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "t::a")).collect();
        assert!(only(&rows, &run(&pairs)).contains("t::a covers 6 requirements"));
    }
}
