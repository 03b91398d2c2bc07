//! Re-serving encoded results, so that benches of clients measure the client.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::result::StatementResult;

const MAX_ENTRIES: usize = 64;

/// Encoded results by what was asked, good until anything but a read runs.
#[derive(Debug, Default)]
pub(crate) struct ResultCache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Rises with every write: a result begun before it must not be stored after it.
    generation: u64,
    by_key: HashMap<String, Arc<StatementResult>>,
    order: VecDeque<String>,
}

impl ResultCache {
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<StatementResult>> {
        self.lock().by_key.get(key).cloned()
    }

    /// Stores a result that was begun in `generation`.
    pub(crate) fn put(&self, key: String, result: Arc<StatementResult>, generation: u64) {
        let mut entries = self.lock();
        if entries.generation != generation {
            return;
        }
        if entries.by_key.insert(key.clone(), result).is_none() {
            entries.order.push_back(key);
        }
        while entries.order.len() > MAX_ENTRIES {
            if let Some(oldest) = entries.order.pop_front() {
                entries.by_key.remove(&oldest);
            }
        }
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.lock();
        entries.generation += 1;
        entries.by_key.clear();
        entries.order.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a statement surely changes nothing, by its first word after comments.
pub(crate) fn is_read(sql: &str) -> bool {
    let mut rest = sql.trim_start_matches(|character: char| character.is_whitespace() || character == '(');
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            break;
        };
        rest = after.trim_start_matches(|character: char| character.is_whitespace() || character == '(');
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ["SELECT", "WITH", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "FROM", "TABLE"]
        .iter()
        .any(|read| word.eq_ignore_ascii_case(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_known_by_their_first_word() {
        for sql in ["select 1", " -- a\n/* b */ (SELECT 1)", "With a AS (SELECT 1) SELECT * FROM a", "SHOW TABLES"] {
            assert!(is_read(sql), "{sql}");
        }
        for sql in ["INSERT INTO t SELECT 1", "USE main", "SET x = 1", "/* select", "selecting", ""] {
            assert!(!is_read(sql), "{sql}");
        }
    }
}
