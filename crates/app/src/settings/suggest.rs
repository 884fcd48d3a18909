//! Finding the name that a misspelt one probably meant.

/// The closest candidate, if it is close enough to be a likely slip.
pub(super) fn closest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // No name is that long, and the comparison is quadratic.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 6)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters to insert, delete or replace to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for (pair, y) in row.windows(2).zip(&b) {
            left = (left + 1)
                .min(pair[1] + 1)
                .min(pair[0] + usize::from(x != *y));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_leaves_the_rest() {
        let keys = ["listen", "max_event", "max_body", "ws_ping_interval"];
        assert_eq!(closest("lisen", keys), Some("listen"));
        assert_eq!(closest("WS-Ping-Intervall", keys), Some("ws_ping_interval"));
        assert_eq!(closest("max_events", keys), Some("max_event"));
        assert_eq!(closest("colour", keys), None);
        assert_eq!(closest(&"listen".repeat(1000), keys), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
