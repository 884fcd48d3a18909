//! Compacting JSON text without reinterpreting it.

/// The deepest nesting of arrays and objects in a payload, the payload itself
/// included. Deeper ones overflow the stack of common parsers at the receivers.
pub(crate) const MAX_DEPTH: usize = 128;

/// Nested deeper than [`MAX_DEPTH`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// Removes the white space between the tokens of the valid JSON text that starts
/// at `start` and ends with the buffer. Numbers, strings and the order of keys
/// stay byte for byte.
pub(crate) fn compact_in_place(buffer: &mut Vec<u8>, start: usize) -> Result<(), TooDeep> {
    let mut depth = 0usize;
    let mut write = start;
    let mut read = start;
    while read < buffer.len() {
        let byte = buffer[read];
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                read += 1;
                continue;
            }
            b'"' => {
                let end = end_of_string(buffer, read);
                if write != read {
                    buffer.copy_within(read..end, write);
                }
                write += end - read;
                read = end;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        buffer[write] = byte;
        write += 1;
        read += 1;
    }
    buffer.truncate(write);
    Ok(())
}

/// The index after the closing quote of the string that opens at `open`.
fn end_of_string(buffer: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < buffer.len() {
        match buffer[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(text: &str) -> Result<String, TooDeep> {
        let mut buffer = b"##".to_vec();
        buffer.extend_from_slice(text.as_bytes());
        compact_in_place(&mut buffer, 2)?;
        Ok(String::from_utf8(buffer.split_off(2)).unwrap())
    }

    #[test]
    fn only_white_space_between_tokens_goes() {
        assert_eq!(
            compact("{ \"a b\" :\t[ 1.50 ,\r\n\"x\\\" \\\\\" , 1e400 ] }").unwrap(),
            "{\"a b\":[1.50,\"x\\\" \\\\\",1e400]}"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(compact(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(compact(&nested(MAX_DEPTH + 1)), Err(TooDeep));
        // Brackets inside strings do not count.
        assert!(compact(&format!("\"{}\"", "[".repeat(1000))).is_ok());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec((".*", inner), 0..6)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_becomes_compact(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty).unwrap(), serde_json::to_string(&value).unwrap());
        }
    }
}
