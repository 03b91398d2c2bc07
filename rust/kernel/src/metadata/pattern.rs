//! Names and LIKE patterns: checked, written into SQL, and matched.

use crate::error::{Error, ErrorKind, Result};

/// Longest name of the platform, and longest pattern that is sent.
const MAX_NAME_BYTES: usize = 255;

/// Checks the name of an object that is meant exactly and returns it in backticks.
pub(super) fn quoted_identifier(argument: &str, name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(invalid(argument, "must not be empty"));
    }
    check(argument, name)?;
    if name.contains('`') {
        return Err(invalid(argument, "must not contain a backtick"));
    }
    Ok(quoted(name))
}

/// Returns a name that the server itself has told, or that may hold anything, in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Tells whether two names are the same: the platform's names are, whatever their case.
pub(super) fn same_name(left: &str, right: &str) -> bool {
    left.chars().flat_map(char::to_lowercase).eq(right.chars().flat_map(char::to_lowercase))
}

fn check(argument: &str, text: &str) -> Result<()> {
    if !text.is_empty() && text.chars().all(char::is_whitespace) {
        return Err(invalid(argument, "must not be blank; leave it out to match everything"));
    }
    if text.contains('\0') {
        return Err(invalid(argument, "must not contain a NUL character"));
    }
    if text.len() > MAX_NAME_BYTES {
        let text = format!("has {} bytes, more than the {MAX_NAME_BYTES} that a name can have", text.len());
        return Err(invalid(argument, &text));
    }
    Ok(())
}

fn invalid(argument: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("`{argument}` {what}"))
}

/// A LIKE pattern: `%` for any text, `_` for one character, a backslash before one that is meant literally.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Any,
    One,
    Literal(char),
}

impl Pattern {
    pub(super) fn parse(argument: &str, text: &str) -> Result<Self> {
        check(argument, text)?;
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            parts.push(match character {
                '%' => Part::Any,
                '_' => Part::One,
                // At the end there is nothing to escape: the backslash stands for itself.
                '\\' => Part::Literal(characters.next().unwrap_or('\\')),
                literal => Part::Literal(literal),
            });
        }
        Ok(Self(parts))
    }

    /// The empty pattern: no name is empty.
    pub(super) fn matches_nothing(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches_everything(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|part| *part == Part::Any)
    }

    /// Returns the one name that the pattern matches, if it has no wildcards.
    pub(super) fn literal(&self) -> Option<String> {
        self.0.iter().map(|part| if let Part::Literal(character) = part { Some(*character) } else { None }).collect()
    }

    /// Tells whether `name` matches, whatever its case, in time proportional to both lengths at worst.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut position) = (0, 0);
        // Where to go on after the last `%`: the part behind it, and the first character it has not swallowed.
        let mut retry: Option<(usize, usize)> = None;
        while let Some(character) = name.get(position) {
            match self.0.get(at) {
                Some(Part::Any) => {
                    at += 1;
                    retry = Some((at, position));
                }
                Some(part) if part.fits(*character) => {
                    at += 1;
                    position += 1;
                }
                _ => {
                    let Some((behind, start)) = retry else { return false };
                    retry = Some((behind, start + 1));
                    (at, position) = (behind, start + 1);
                }
            }
        }
        self.0.get(at..).is_some_and(|rest| rest.iter().all(|part| *part == Part::Any))
    }

    /// Returns the pattern of SHOW commands, in quotes. It matches what [`Pattern::matches`] does, and perhaps more.
    ///
    /// The server reads it as a regular expression with `*` for `.*` and `|` between choices, and folds the case of ASCII
    /// letters only. So every character that could mean something there, or differ by case, is sent as `.`: any one.
    pub(super) fn glob(&self) -> String {
        self.written('*', '.')
    }

    /// Returns the pattern of ILIKE, in quotes, under the same rule.
    pub(super) fn like(&self) -> String {
        self.written('%', '_')
    }

    fn written(&self, any: char, one: char) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Any => any,
            Part::Literal(character) if character.is_ascii_alphanumeric() || matches!(character, '_' | '-') => {
                *character
            }
            Part::Literal(_) | Part::One => one,
        });
        let text: String = parts.collect();
        format!("'{text}'")
    }
}

impl Part {
    fn fits(self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(literal) => literal == character || literal.to_lowercase().eq(character.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse("schema_pattern", text).unwrap()
    }

    #[test]
    fn names_match_as_like_says() {
        for (text, matching, others) in [
            ("a", &["a", "A"][..], &["", "ab", "ba"][..]),
            ("%", &["", "a", "a%b", "\n"], &[]),
            ("", &[""], &["a", " "]),
            ("_", &["a", "é", "😀", "."], &["", "ab"]),
            ("a_c", &["abc", "a_c", "ABC", "a😀c"], &["ac", "abbc"]),
            (r"a\_c", &["a_c", "A_C"], &["abc", r"a\_c"]),
            (r"\%", &["%"], &["a", r"\%"]),
            (r"a\\b", &[r"a\b"], &[r"a\\b", "ab"]),
            (r"a\", &[r"a\"], &["a"]),
            (r"\x", &["x"], &[r"\x"]),
            ("%b%", &["b", "abc", "bb"], &["a", ""]),
            ("a%c%e", &["ace", "abcde", "acece"], &["aec", "abcd"]),
            ("%%", &["", "x"], &[]),
            ("%a", &["a", "aa", "ba"], &["ab"]),
            ("a*b.c|d", &["a*b.c|d"], &["axbxc", "d", "a*bxc|d"]),
            ("(a+)[b]$", &["(a+)[b]$"], &["aab", "aa"]),
            ("É%", &["éa", "É"], &["e"]),
            ("straße", &["STRAßE"], &["strasse"]),
            ("it's \"x\"", &["it's \"x\""], &["its x"]),
        ] {
            for name in matching {
                assert!(pattern(text).matches(name), "{text:?} matches {name:?}");
            }
            for name in others {
                assert!(!pattern(text).matches(name), "{text:?} does not match {name:?}");
            }
        }
    }

    #[test]
    fn matching_ends_soon_for_hostile_names() {
        let started = std::time::Instant::now();
        assert!(!pattern(&"%a".repeat(127)).matches(&format!("{}b", "a".repeat(20_000))));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn patterns_in_sql_cannot_leave_their_quotes() {
        for (text, glob, like) in [
            ("a%b_c", "'a*b.c'", "'a%b_c'"),
            (r"a\_b\%c", "'a_b.c'", "'a_b_c'"),
            ("it's", "'it.s'", "'it_s'"),
            (r"x\", "'x.'", "'x_'"),
            (r"x\\' OR 1=1 --", "'x...OR.1.1.--'", "'x___OR_1_1_--'"),
            ("a*b.c|d", "'a.b.c.d'", "'a_b_c_d'"),
            ("é\n\"`", "'....'", "'____'"),
            ("", "''", "''"),
        ] {
            assert_eq!((pattern(text).glob().as_str(), pattern(text).like().as_str()), (glob, like), "{text:?}");
        }
    }

    #[test]
    fn what_is_sent_matches_at_least_what_is_meant() {
        let alphabet = ['a', 'B', '_', '%', '\\', '.', '*', '|', '\'', 'é', ' '];
        let texts: Vec<String> = (0..alphabet.len().pow(3))
            .map(|number| {
                [number % 11, number / 11 % 11, number / 121].iter().filter_map(|at| alphabet.get(*at)).collect()
            })
            .collect();
        let names = ["aBa", "a_b", "a%b", r"a\b", "a.b", "a*b", "a|b", "a'b", "aéb", "a b", "ab", "éé", "É"];
        for text in texts.iter().filter(|text| !text.trim().is_empty()) {
            let meant = pattern(text);
            // Neither form has escapes, so both can be read back as patterns.
            let like = pattern(meant.like().trim_matches('\''));
            let glob = meant.glob().trim_matches('\'').replace('_', r"\_").replace('*', "%").replace('.', "_");
            for name in names.iter().filter(|name| meant.matches(name)) {
                assert!(like.matches(name) && pattern(&glob).matches(name), "{text:?} {name:?}");
            }
        }
    }

    #[test]
    fn a_pattern_without_wildcards_is_a_name() {
        assert_eq!(pattern(r"my\_cat").literal().as_deref(), Some("my_cat"));
        assert_eq!(pattern("my_cat").literal(), None);
        assert_eq!(pattern("ma%").literal(), None);
        assert!(pattern("%%").matches_everything() && !pattern("%_").matches_everything());
        assert!(pattern("").matches_nothing() && !pattern("").matches_everything());
    }

    #[test]
    fn names_and_patterns_are_checked_before_anything_is_sent() {
        assert_eq!(quoted_identifier("catalog", "a'b\"\\ é").unwrap(), "`a'b\"\\ é`");
        assert_eq!(quoted("a`; DROP TABLE t; --`"), "`a``; DROP TABLE t; --```");
        for (name, reason) in [
            ("", "empty"),
            (" \t\u{2003}", "blank"),
            ("a`b", "backtick"),
            ("a\0b", "NUL"),
            (&"é".repeat(128), "256 bytes"),
        ] {
            let error = quoted_identifier("catalog", name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with("`catalog`") && error.message().contains(reason), "{error}");
            if !matches!(reason, "empty" | "backtick") {
                assert_eq!(Pattern::parse("catalog", name).unwrap_err().message(), error.message());
            }
        }
        assert!(quoted_identifier("catalog", &"c".repeat(255)).is_ok());
        assert!(same_name("Main", "mAIN") && same_name("É", "é") && !same_name("a", "ab"));
    }
}
