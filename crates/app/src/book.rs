//! The pages of the documentation that have Rust in them: doc tests compile and run it.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/tutorial/embed.md")]
struct Embed;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/howto/correlation.md")]
struct Correlation;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/howto/test.md")]
struct Test;
