//! The names in a PromQL expression: which metrics it asks for, and by which labels.

/// One metric that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Its name.
    pub metric: String,
    /// The matchers: label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// What is named in an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The metrics.
    pub selectors: Vec<Selector>,
    /// The labels of `by` and its kind.
    pub labels: Vec<String>,
}

/// Words that come before a list of labels.
const LISTS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
/// Words between expressions.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

impl Names {
    /// Reads an expression; the test fails where it is cut short.
    pub fn of(expression: &str) -> Self {
        let mut names = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first == '[' {
                // A range; its unit is no name.
                rest = rest.split_once(']').expect("the end of a range").1;
                continue;
            }
            if !first.is_ascii_alphabetic() && first != '_' {
                // A number with a unit or an exponent is no name either.
                let skipped =
                    |c: char| first.is_ascii_digit() && (c.is_ascii_alphanumeric() || c == '.');
                let end = rest.find(|c| !skipped(c)).unwrap_or(rest.len());
                rest = &rest[end.max(first.len_utf8())..];
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.trim_start();
            if LISTS.contains(&word) && rest.starts_with('(') {
                let (list, after) = rest[1..].split_once(')').expect("the end of a list");
                let labels = list.split(',').map(|label| label.trim().to_owned());
                names
                    .labels
                    .extend(labels.filter(|label| !label.is_empty()));
                rest = after;
            } else if !is_function(rest) && !OPERATORS.contains(&word) {
                let matchers = match rest.strip_prefix('{') {
                    None => Vec::new(),
                    Some(inside) => {
                        let (matchers, after) = matchers(inside);
                        rest = after;
                        matchers
                    }
                };
                let metric = word.to_owned();
                names.selectors.push(Selector { metric, matchers });
            }
        }
        names
    }
}

/// Whether the word before this is one: `rate(…)`, `sum by (…) (…)`.
fn is_function(rest: &str) -> bool {
    let next = rest.split([' ', '(']).next().unwrap_or_default();
    rest.starts_with('(') || ["by", "without"].contains(&next)
}

/// Reads `label="value",…}`; gives what follows, too.
fn matchers(mut rest: &str) -> (Vec<(String, String, String)>, &str) {
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return (matchers, after);
        }
        let quote = rest.find('"').expect("the value of a matcher");
        let (label, operator) = rest[..quote].split_at(rest.find(['=', '!']).expect("an operator"));
        let (value, after) = rest[quote + 1..]
            .split_once('"')
            .expect("the end of a value");
        assert!(!value.contains('\\'), "no escapes are read here: {value}");
        matchers.push((
            label.trim().to_owned(),
            operator.to_owned(),
            value.to_owned(),
        ));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_alerts_and_dashboards_ask_for() {
        let names = Names::of(
            "histogram_quantile(0.99, sum by (le, a) (rate(h_bucket{b=~\"x|y\", c!=\"}\"}[5m]))) > 1e3 \
             and on (a) up unless (m offset 5m) / 2",
        );
        let metrics: Vec<_> = names.selectors.iter().map(|s| s.metric.as_str()).collect();
        assert_eq!(metrics, ["h_bucket", "up", "m"]);
        assert_eq!(names.labels, ["le", "a", "a"]);
        let matchers = [("b", "=~", "x|y"), ("c", "!=", "}")];
        let matchers = matchers.map(|(l, o, v)| (l.to_owned(), o.to_owned(), v.to_owned()));
        assert_eq!(names.selectors[0].matchers, matchers);
        assert_eq!(names.selectors[1].matchers, []);
    }
}
