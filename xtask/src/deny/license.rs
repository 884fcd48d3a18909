//! Evaluates an SPDX licence expression against a list of allowed licences.

/// Whether the allowed licences are enough; `Err` says what is wrong with the expression.
pub(super) fn is_satisfied(
    expression: &str,
    is_allowed: &dyn Fn(&str) -> bool,
) -> Result<bool, String> {
    // Before SPDX, crates wrote `MIT/Apache-2.0`.
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        tokens: &tokens,
        is_allowed,
    };
    let satisfied = parser.either()?;
    match parser.tokens.first() {
        None => Ok(satisfied),
        Some(token) => Err(format!("unexpected `{token}` in `{expression}`")),
    }
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    is_allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn either(&mut self) -> Result<bool, String> {
        let mut satisfied = self.both()?;
        while self.take("OR") {
            satisfied |= self.both()?;
        }
        Ok(satisfied)
    }

    fn both(&mut self) -> Result<bool, String> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Ok(satisfied)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let satisfied = self.either()?;
            return if self.take(")") {
                Ok(satisfied)
            } else {
                Err("a parenthesis is not closed".to_owned())
            };
        }
        let name = self.next()?;
        if self.take("WITH") {
            let exception = self.next()?;
            return Ok((self.is_allowed)(&format!("{name} WITH {exception}")));
        }
        Ok((self.is_allowed)(name))
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.tokens.split_first() {
            Some((token, rest)) if *token == wanted => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Result<&'a str, String> {
        match self.tokens.split_first() {
            Some((token, rest)) if !["OR", "AND", "WITH", ")"].contains(token) => {
                self.tokens = rest;
                Ok(token)
            }
            _ => Err("a licence is missing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_and_unicode(expression: &str) -> Result<bool, String> {
        is_satisfied(expression, &|name| ["MIT", "Unicode-3.0"].contains(&name))
    }

    #[test]
    fn one_allowed_alternative_is_enough() {
        for expression in [
            "MIT",
            "Apache-2.0 OR MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 AND ISC OR MIT",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert_eq!(mit_and_unicode(expression), Ok(true), "{expression}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        for expression in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT WITH some-exception",
            "(MIT OR ISC) AND BSD-3-Clause",
        ] {
            assert_eq!(mit_and_unicode(expression), Ok(false), "{expression}");
        }
    }

    #[test]
    fn a_broken_expression_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT MIT", "AND MIT"] {
            assert!(mit_and_unicode(expression).is_err(), "{expression}");
        }
    }
}
