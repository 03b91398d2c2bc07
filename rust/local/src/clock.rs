//! Times as the API and signed links write them.

use time::OffsetDateTime;

/// RFC 3339 with milliseconds: `2026-11-21T11:51:00.305Z`.
pub(crate) fn expiration_stamp(at: OffsetDateTime) -> String {
    let (date, time) = (date_digits(at, "-"), time_digits(at, ":"));
    format!("{date}T{time}.{:03}Z", at.millisecond())
}

/// The compact form of signed queries: `20261121T115100Z`.
pub(crate) fn basic_stamp(at: OffsetDateTime) -> String {
    format!("{}T{}Z", date_digits(at, ""), time_digits(at, ""))
}

/// A path segment with escaped colons: `2026-11-21T11%3A51%3A00.305Z`.
pub(crate) fn escaped_stamp(at: OffsetDateTime) -> String {
    expiration_stamp(at).replace(':', "%3A")
}

fn date_digits(at: OffsetDateTime, separator: &str) -> String {
    format!("{:04}{separator}{:02}{separator}{:02}", at.year(), u8::from(at.month()), at.day())
}

fn time_digits(at: OffsetDateTime, separator: &str) -> String {
    format!("{:02}{separator}{:02}{separator}{:02}", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_305_000_000).unwrap();
        assert_eq!(expiration_stamp(at), "2023-11-14T22:13:20.305Z");
        assert_eq!(basic_stamp(at), "20231114T221320Z");
        assert_eq!(escaped_stamp(at), "2023-11-14T22%3A13%3A20.305Z");
    }
}
