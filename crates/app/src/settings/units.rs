//! Durations and sizes as text: exact, never rounded, and what is printed reads back the same.

use std::time::Duration;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// Units of time in nanoseconds, largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
];

/// Units of size in bytes, largest first of each family, in lower case.
const SIZES: [(&str, u64); 9] = [
    ("tib", TIB),
    ("gib", GIB),
    ("mib", MIB),
    ("kib", KIB),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// Most characters of a number with its unit; longer text is no number anyone means.
const LONGEST: usize = 64;

/// Reads `500ms`, `30s`, `10m`, `1h`, `2d`, or a number of seconds; fractions are allowed.
///
/// Nothing when the text is anything else, is finer than a nanosecond or overflows.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(stoat_app::settings::parse_duration("1.5m"), Some(Duration::from_secs(90)));
/// assert_eq!(stoat_app::settings::parse_duration("-1s"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "" => SECOND,
        _ => TIMES.iter().find(|(name, _)| *name == unit)?.1,
    };
    let nanos = scale(number, unit)?;
    let seconds = u64::try_from(nanos / u128::from(SECOND)).ok()?;
    let rest = u32::try_from(nanos % u128::from(SECOND)).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Writes a duration in the largest unit that divides it, else in seconds with a fraction.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(stoat_app::settings::format_duration(Duration::from_secs(600)), "10m");
/// ```
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (name, unit) in TIMES {
        if nanos.is_multiple_of(u128::from(unit)) {
            return format!("{}{name}", nanos / u128::from(unit));
        }
    }
    let fraction = format!("{:09}", duration.subsec_nanos());
    format!("{}.{}s", duration.as_secs(), fraction.trim_end_matches('0'))
}

/// Reads `64KiB`, `1.5MiB`, `10kB`, `1GiB`, or a number of bytes; the case of the unit does not matter.
///
/// Nothing when the text is anything else, is not whole in bytes or overflows.
///
/// ```
/// assert_eq!(stoat_app::settings::parse_size("64KiB"), Some(65_536));
/// assert_eq!(stoat_app::settings::parse_size("64K"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "" => 1,
        _ => {
            SIZES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
                .1
        }
    };
    u64::try_from(scale(number, unit)?).ok()
}

/// Writes a size in the largest binary unit that divides it, else in bytes.
///
/// ```
/// assert_eq!(stoat_app::settings::format_size(65_536), "64KiB");
/// assert_eq!(stoat_app::settings::format_size(1_000), "1000B");
/// ```
pub fn format_size(bytes: u64) -> String {
    for (name, unit) in [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// Parts a number from the unit behind it.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number, unit.trim_start_matches(' ')))
}

/// Multiplies a decimal number by a unit; nothing where the product is not whole.
fn scale(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (number, ""),
    };
    // `1.` and `.5` are typing errors more often than numbers.
    if whole.is_empty() || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(u128::from(unit))?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction
        .parse::<u128>()
        .ok()?
        .checked_mul(u128::from(unit))?;
    if !part.is_multiple_of(power) {
        return None;
    }
    whole.checked_add(part / power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_units_of_time() {
        for (text, nanos) in [
            ("0", 0),
            ("30", 30 * SECOND),
            ("0.5", 500 * MILLISECOND),
            ("500ms", 500 * MILLISECOND),
            ("0.000001ms", 1),
            ("30s", 30 * SECOND),
            (" 30 s ", 30 * SECOND),
            ("10m", 10 * MINUTE),
            ("1h", HOUR),
            ("2d", 2 * DAY),
            ("1.50m", 90 * SECOND),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "s",
            ".",
            "1.",
            ".5",
            "1..2",
            "1.2.3",
            "-1",
            "+1",
            "1e3",
            "NaN",
            "inf",
            "1S",
            "1 week",
            "1s1",
            "0.0000000001",
            "99999999999999999999d",
            "1_000",
            "\u{663}s",
            "1\n s",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        assert_eq!(parse_duration(&"9".repeat(1000)), None);
    }

    #[test]
    fn reads_the_units_of_size() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("12B", 12),
            ("10kB", 10_000),
            ("10 KB", 10_000),
            ("64KiB", 65_536),
            ("1.5mib", 3 << 19),
            ("1GiB", 1 << 30),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "B",
            "1K",
            "1.5",
            "0.3KiB",
            "-1",
            "1e6",
            "NaN",
            "99999999TiB",
            "1 KiB/s",
        ] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back(seconds: u64, nanos in 0_u32..1_000_000_000) {
            for duration in [Duration::new(seconds, nanos), Duration::from_secs(seconds), Duration::from_millis(seconds)] {
                prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            }
        }

        #[test]
        fn a_size_reads_back(bytes: u64, shift in 0_u32..64) {
            for bytes in [bytes, bytes >> shift, bytes >> shift << shift] {
                prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*", number in "[0-9.]{0,70}", unit in "[a-zA-Z ]{0,4}") {
            for text in [text, format!("{number}{unit}")] {
                let _ = parse_duration(&text);
                let _ = parse_size(&text);
            }
        }
    }
}
