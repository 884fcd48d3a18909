//! A command line of flags and values, and of a command to run after `--`.

use std::str::FromStr;

/// What was given; asking for a name twice is fine, giving it twice means the last one.
#[derive(Debug, Default)]
pub struct Arguments {
    given: Vec<(String, String)>,
    /// Everything after `--`.
    pub command: Vec<String>,
}

impl Arguments {
    /// Reads `args`, where `flags` stand alone and `values` take the next word.
    ///
    /// # Errors
    ///
    /// A name that is on neither list, or a value that is missing.
    pub fn parse(
        args: impl IntoIterator<Item = String>,
        flags: &[&str],
        values: &[&str],
    ) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            if name == "--" {
                parsed.command = args.collect();
                break;
            }
            let value = if flags.contains(&name.as_str()) {
                String::new()
            } else if values.contains(&name.as_str()) {
                args.next().ok_or(format!("{name} needs a value"))?
            } else {
                let known = [flags, values].concat().join(" ");
                return Err(format!("`{name}` is none of: {known}"));
            };
            parsed.given.push((name, value));
        }
        Ok(parsed)
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value of a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let mut given = self.given.iter().rev();
        given
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a name as a number.
    ///
    /// # Errors
    ///
    /// It was given, and is no such number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name}: `{text}` is no number that fits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = line.split(' ').map(str::to_owned);
        Arguments::parse(words, &["--flat"], &["--n", "--rate"])
    }

    #[test]
    fn flags_values_and_a_command() {
        let parsed = parse("--flat --n 7 -- server --n 8").unwrap();
        assert!(parsed.has("--flat"));
        assert_eq!(parsed.number::<usize>("--n"), Ok(Some(7)));
        assert_eq!(parsed.number::<usize>("--rate"), Ok(None));
        assert_eq!(parsed.command, ["server", "--n", "8"]);
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        assert!(parse("--what").unwrap_err().contains("--what"));
        assert!(parse("--n").unwrap_err().contains("needs a value"));
        let parsed = parse("--n many").unwrap();
        assert!(parsed.number::<usize>("--n").is_err());
    }
}
