//! As much of HTTP/1.1 as both ends of a benchmark need: where a head ends, and one of its headers.

/// The bytes before the empty line, once it is there.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<&str> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    std::str::from_utf8(bytes.get(..end)?).ok()
}

/// The value of a header of a head.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The length that a head announces for its body; 0 when it announces none.
///
/// # Errors
///
/// It announces something else than a length.
pub fn body_length(head: &str) -> Result<usize, String> {
    match header(head, "content-length") {
        Some(text) => text
            .parse()
            .map_err(|_| format!("a content-length of `{text}`")),
        None if header(head, "transfer-encoding").is_some() => {
            Err("a body without a length".to_owned())
        }
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_its_headers() {
        let bytes = b"POST /x HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 12\r\n\r\nbody: 1";
        let head = head(bytes).unwrap();
        assert_eq!(header(head, "host"), Some("a"));
        assert_eq!(header(head, "body"), None);
        assert_eq!(body_length(head), Ok(12));
        assert_eq!(super::head(&bytes[..40]), None);
        assert_eq!(body_length("GET / HTTP/1.1"), Ok(0));
        assert!(body_length("GET / HTTP/1.1\r\nContent-Length: x").is_err());
    }
}
