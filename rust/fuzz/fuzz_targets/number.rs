//! Numbers of an answer.

use arbitrary::Arbitrary;

/// A number near what would be right, or any.
#[derive(Arbitrary, Debug)]
pub enum Number {
    Right,
    Off(i8),
    Any(i64),
    None,
}

impl Number {
    pub fn from(&self, right: i64) -> Option<i64> {
        match self {
            Self::Right => Some(right),
            Self::Off(by) => Some(right.saturating_add(i64::from(*by))),
            Self::Any(number) => Some(*number),
            Self::None => None,
        }
    }
}
