//! The pages of the documentation that have Rust in them: doc tests compile and run it.

#[doc = include_str!("../../../README.md")]
struct Readme;

#[doc = include_str!("../../../docs/tutorial/embed.md")]
struct Embed;

#[doc = include_str!("../../../docs/howto/correlation.md")]
struct Correlation;

#[doc = include_str!("../../../docs/howto/test.md")]
struct Test;
