//! The moment an event was built, to the microsecond.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A moment in UTC with microsecond precision, in the years 0001 to 9999.
///
/// Written as RFC 3339 with six fractional digits and the offset `+00:00`.
///
/// ```
/// use stoat_events::Timestamp;
///
/// let moment: Timestamp = "2026-11-23T13:34:56.789012+01:00".parse().unwrap();
/// assert_eq!(moment.to_string(), "2026-11-23T12:34:56.789012+00:00");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Microseconds since the Unix epoch; always within the years 0001 to 9999.
    micros: i64,
}

/// 0001-01-01T00:00:00Z
const MIN_MICROS: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z
const MAX_MICROS: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The system's wall clock now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From microseconds since the Unix epoch; moments outside of the years 0001
    /// to 9999 become the nearest one inside.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self {
            micros: micros.clamp(MIN_MICROS, MAX_MICROS),
        }
    }

    /// Microseconds since the Unix epoch.
    pub fn unix_micros(self) -> i64 {
        self.micros
    }

    /// Length of the text form in bytes.
    pub(crate) const TEXT_LEN: usize = "2026-11-23T12:34:56.789012+00:00".len();

    fn to_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.micros) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        };
        Self::from_unix_micros(micros)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.to_date_time();
        let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
        let (hour, minute, second, micro) = moment.to_hms_micro();
        // Digit by digit into one buffer: a third of the cost of `write!` with widths.
        let mut text = *b"0000-00-00T00:00:00.000000+00:00";
        let mut put = |at: usize, width: usize, mut value: u32| {
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0, 4, year.unsigned_abs());
        put(5, 2, month.into());
        put(8, 2, day.into());
        put(11, 2, hour.into());
        put(14, 2, minute.into());
        put(17, 2, second.into());
        put(20, 6, micro);
        // Digits and punctuation are UTF-8, so this is never the default.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// The text was no RFC 3339 date and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTimestamp(());

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`timestamp` must be an RFC 3339 date and time")
    }
}

impl std::error::Error for InvalidTimestamp {}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Parses any RFC 3339 date and time; digits below a microsecond are cut.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp(()))?;
        let nanos = parsed.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
        i64::try_from(nanos.div_euclid(1000))
            .map(Self::from_unix_micros)
            .map_err(|_| InvalidTimestamp(()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        assert_eq!(
            Timestamp::from_unix_micros(0).to_string(),
            "1970-01-01T00:00:00.000000+00:00"
        );
        assert_eq!(
            Timestamp::from_unix_micros(1_795_437_296_000_001).to_string(),
            "2026-11-23T12:34:56.000001+00:00"
        );
        assert_eq!(
            Timestamp::from_unix_micros(i64::MAX).to_string(),
            "9999-12-31T23:59:59.999999+00:00"
        );
        assert_eq!(
            Timestamp::from_unix_micros(i64::MIN).to_string(),
            "0001-01-01T00:00:00.000000+00:00"
        );
        assert!("2026-11-23".parse::<Timestamp>().is_err());
    }

    proptest! {
        #[test]
        fn round_trips(micros in MIN_MICROS..=MAX_MICROS) {
            let moment = Timestamp::from_unix_micros(micros);
            let text = moment.to_string();
            prop_assert_eq!(text.len(), Timestamp::TEXT_LEN);
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), moment);
        }
    }
}
