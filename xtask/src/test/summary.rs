//! What a suite's output says, line by line.
//!
//! Suites speak libtest's language. A test that cannot run here prints a line
//! `skipped: NAME: REASON` and ends well: it counts as skipped, not as passed. So
//! does an ignored test, whose reason may stand in its name: `NAME (skipped: REASON)`.

use std::collections::{BTreeMap, HashMap};

use super::budgets::Spent;

/// Counts of one suite or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ended well, and did run.
    pub passed: usize,
    /// Ended badly.
    pub failed: usize,
    /// Did not run.
    pub skipped: usize,
}

impl Counts {
    /// All of them.
    pub(crate) fn total(self) -> usize {
        self.passed + self.failed + self.skipped
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Reads the lines of one suite.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    results: Counts,
    complete: bool,
    expected: usize,
    /// Outcome by test, as far as it was in the same line.
    outcomes: HashMap<String, String>,
    skips: BTreeMap<String, String>,
    spent: Vec<Spent>,
}

impl Reader {
    /// Takes one line; returns what to show of it while the suite runs.
    pub(crate) fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end();
        self.spent.extend(Spent::parse(line));
        if let Some(counts) = line.strip_prefix("test result: ").and_then(result) {
            self.results += counts;
            self.complete = true;
        } else if let Some(count) = line.strip_prefix("running ") {
            self.expected += count.split(' ').next()?.parse::<usize>().ok()?;
        } else if let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            return Some(self.test(name.trim(), outcome));
        } else if let Some(skip) = line.trim_start().strip_prefix("skipped: ") {
            self.skip(skip);
        }
        None
    }

    fn test(&mut self, name: &str, outcome: &str) -> String {
        let (name, reason) = match name.split_once(" (skipped: ") {
            Some((name, reason)) => (name, reason.strip_suffix(')')),
            None => (name, outcome.strip_prefix("ignored, ")),
        };
        if let Some(skip) = outcome.strip_prefix("skipped: ") {
            self.skip(skip);
        } else if outcome.starts_with("ignored") {
            self.skips
                .entry(name.to_owned())
                .or_insert_with(|| reason.unwrap_or("ignored").to_owned());
        }
        self.outcomes.insert(name.to_owned(), outcome.to_owned());
        format!("{}/{} {name}", self.outcomes.len(), self.expected)
    }

    fn skip(&mut self, text: &str) {
        let (name, reason) = text.split_once(": ").unwrap_or((text, "no reason given"));
        self.skips.insert(name.to_owned(), reason.to_owned());
    }

    /// Tests that said they did not run, with their reasons.
    pub(crate) fn skips(&self) -> impl Iterator<Item = (&str, &str)> {
        self.skips
            .iter()
            .map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// What has a budget.
    pub(crate) fn spent(&self) -> &[Spent] {
        &self.spent
    }

    /// The counts, given whether the suite's process ended well.
    pub(crate) fn finish(&self, ended_well: bool) -> Counts {
        let mut counts = self.results;
        for name in self.skips.keys() {
            match self.outcome(name) {
                Some("ignored") => {}
                Some(outcome) if !outcome.starts_with("FAILED") => {
                    counts.passed = counts.passed.saturating_sub(1);
                    counts.skipped += 1;
                }
                Some(_) => {}
                // The suite as a whole, before any test of it.
                None => counts.skipped += 1,
            }
        }
        // It crashed, or ended before its tests did: that is no success.
        let cut_short = !self.complete && counts.skipped == 0;
        if (!ended_well || cut_short) && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }

    /// A test's outcome by its name, or by the last part of it.
    fn outcome(&self, name: &str) -> Option<&str> {
        self.outcomes
            .iter()
            .find(|(test, _)| {
                test.strip_suffix(name)
                    .is_some_and(|path| path.is_empty() || path.ends_with("::"))
            })
            .map(|(_, outcome)| outcome.split(',').next().unwrap_or_default())
    }
}

/// `ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s`
fn result(text: &str) -> Option<Counts> {
    let (_, counts) = text.split_once(". ")?;
    let count = |word: &str| {
        counts
            .split("; ")
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
        skipped: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reader {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line);
        }
        reader
    }

    fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn libtests_result_is_read() {
        let reader = read(
            "\nrunning 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\ntest a::three ... ignored, slow\n\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!(reader.finish(false), counts(1, 1, 1));
    }

    #[test]
    fn libtest_mimics_result_is_read() {
        let reader = read(
            "running 2 tests\ntest journey ... ok\ntest failover ... ok\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.01s\n",
        );
        assert_eq!(reader.finish(true), counts(2, 0, 0));
    }

    #[test]
    fn several_results_add_up() {
        let one = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(read(&one.repeat(3)).finish(true), counts(6, 0, 3));
    }

    #[test]
    fn a_test_that_says_skipped_did_not_pass() {
        let reader = read(
            "running 2 tests\ntest veth::order ... ok\ntest veth::ping ... ok\n\nsuccesses:\n\n\
             ---- veth::order stdout ----\nskipped: order: needs root\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(reader.finish(true), counts(1, 0, 1));
        assert_eq!(
            reader.skips().collect::<Vec<_>>(),
            [("order", "needs root")]
        );
    }

    #[test]
    fn an_ignored_test_that_says_skipped_counts_once() {
        let reader = read(
            "skipped: order: needs root: type sudo\nrunning 1 test\ntest order ... ignored\n\
             test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(reader.finish(true), counts(0, 0, 1));
        assert_eq!(
            reader.skips().collect::<Vec<_>>(),
            [("order", "needs root: type sudo")]
        );
    }

    #[test]
    fn an_ignored_test_may_carry_its_reason_in_its_name() {
        let reader = read(
            "running 2 tests\ntest order::places (skipped: no curl) ... ignored\n\
             test order::slow ... ignored, takes an hour\n\
             test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(reader.finish(true), counts(0, 0, 2));
        let skips: Vec<_> = reader.skips().collect();
        assert_eq!(
            skips,
            [
                ("order::places", "no curl"),
                ("order::slow", "takes an hour")
            ]
        );
    }

    #[test]
    fn a_skip_in_the_middle_of_a_tests_line_is_seen() {
        let reader = read(
            "running 1 test\ntest order ... skipped: order: no BPF\nok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(reader.finish(true), counts(0, 0, 1));
    }

    #[test]
    fn a_suite_may_skip_as_a_whole() {
        assert_eq!(
            read("skipped: failover: needs root\n").finish(true),
            counts(0, 0, 1)
        );
    }

    #[test]
    fn a_crash_is_a_failure() {
        let cut = "running 3 tests\ntest one ... ok\n";
        assert_eq!(read(cut).finish(false).failed, 1);
        assert_eq!(read(cut).finish(true).failed, 1);
        assert_eq!(read("").finish(true).failed, 1);
        let ended = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(read(ended).finish(false), counts(1, 1, 0));
    }

    #[test]
    fn progress_names_the_test() {
        let mut reader = Reader::default();
        reader.line("running 2 tests");
        assert_eq!(reader.line("test a::b ... ok").as_deref(), Some("1/2 a::b"));
        assert_eq!(reader.line("hello"), None);
    }

    #[test]
    fn the_summary_has_exactly_this_shape() {
        assert_eq!(
            counts(12, 0, 3).to_string(),
            "12 passed, 0 failed, 3 skipped"
        );
    }
}
