//! The size of a response in the payload of a Lambda function, and its maximum.
//!
//! A function returns its response to Lambda as a JSON object with the body as a string. A JSON body is therefore JSON within
//! JSON, and each of its quotes and backslashes takes two bytes. A compressed body is Base64, four bytes for three. Both forms
//! have to fit, whichever the client requests.

use std::io::{self, Write};

use serde::Serialize;

/// Maximum size of the payload of a function, in bytes (AWS Lambda Developer Guide, "Lambda quotas": 6 MB).
const MAX_PAYLOAD: usize = 6 * 1024 * 1024;

/// Reserve for the status and the headers, in bytes. The headers contain the location of the resource twice. The host in it
/// comes from the request, which has at most 10 KB of headers.
const AROUND_A_BODY: usize = 64 * 1024;

/// Maximum size of a body in either form, in bytes.
const MAX_BODY: usize = MAX_PAYLOAD - AROUND_A_BODY;

/// Reserve for the message around the elements of a list, cursors included, in bytes.
const AROUND_A_LIST: usize = 4 * 1024;

/// The size of a body, in bytes.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Size of the body.
    plain: usize,
    /// Size of the body as a JSON string, without the quotes around it.
    quoted: usize,
}

impl Size {
    fn add(&mut self, bytes: &[u8]) {
        self.plain += bytes.len();
        self.quoted += bytes.iter().map(|byte| quoted(*byte)).sum::<usize>();
    }

    fn fits(self) -> bool {
        // gzip stores data that it cannot compress in blocks, with a few bytes for each.
        let compressed = self.plain + self.plain / 512 + 64;
        self.quoted <= MAX_BODY && compressed.div_ceil(3) * 4 <= MAX_BODY
    }
}

/// Returns the number of bytes that `serde_json` writes for one byte of a string (RFC 8259 §7).
const fn quoted(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1,
    }
}

/// A writer that fails when the data exceeds the maximum size.
struct Measure {
    size: Size,
    /// The data that was written, if it is kept.
    text: Option<Vec<u8>>,
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size.add(bytes);
        if !self.size.fits() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(text) = &mut self.text {
            text.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the JSON text of a body, or `None` if it exceeds the maximum size of a response.
#[must_use]
pub fn written(body: &impl Serialize) -> Option<Vec<u8>> {
    let mut measure = Measure {
        size: Size::default(),
        text: Some(vec![]),
    };
    serde_json::to_writer(&mut measure, body).ok()?;
    measure.text
}

/// Returns whether a body fits into a response.
#[must_use]
pub fn fits(body: &impl Serialize) -> bool {
    Room(Size::default()).takes(body)
}

/// The space that is left in a list response.
pub struct Room(Size);

impl Default for Room {
    /// Returns the space for all elements of a list.
    fn default() -> Self {
        Self(Size {
            plain: AROUND_A_LIST,
            quoted: AROUND_A_LIST,
        })
    }
}

impl Room {
    /// Adds an element if it fits, and returns whether it did.
    pub fn takes(&mut self, element: &impl Serialize) -> bool {
        let mut measure = Measure {
            size: self.0,
            text: None,
        };
        if serde_json::to_writer(&mut measure, element).is_err() {
            return false;
        }
        // A comma follows.
        measure.size.add(b",");
        self.0 = measure.size;
        true
    }
}

/// How many such elements an answer has room for.
#[must_use]
pub fn most(element: &impl Serialize) -> u64 {
    let mut one = Room(Size::default());
    if !one.takes(element) {
        return 0;
    }
    let Size { plain, quoted } = one.0;
    // The larger one of the two forms decides.
    let bytes = quoted.max(plain.div_ceil(3) * 4);
    (MAX_BODY / bytes) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_body_is_measured_as_lambda_http_writes_it() {
        let texts = (0..=0x10_ffff).filter_map(char::from_u32);
        for text in texts.step_by(97).chain('\0'..='\u{ff}') {
            let mut size = Size::default();
            let mut buffer = [0; 4];
            let text = text.encode_utf8(&mut buffer);
            size.add(text.as_bytes());
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(size.quoted, json.len() - 2, "{json}");
            assert_eq!(size.plain, text.len());
        }
    }

    #[test]
    fn the_larger_one_of_the_two_forms_decides() {
        // Each backslash is two in JSON, and four in JSON within JSON, as the two quotes are.
        let backslashes = |count: usize| json!("\\".repeat(count));
        let most = (MAX_BODY - 4) / 4;
        let largest = backslashes(most);
        let text = written(&largest).unwrap();
        assert_eq!(text, largest.to_string().as_bytes());
        let string = serde_json::to_string(&largest.to_string()).unwrap();
        assert!((MAX_BODY - 4..=MAX_BODY).contains(&(string.len() - 2)));
        assert!(fits(&largest));
        assert!(!fits(&backslashes(most + 1)));
        assert!(written(&backslashes(most + 1)).is_none());
        // Text of letters alone is larger in Base64.
        let letters = |count: usize| json!("a".repeat(count));
        assert!(fits(&letters(MAX_BODY / 100 * 74)));
        assert!(!fits(&letters(MAX_BODY / 4 * 3)));
    }

    #[test]
    fn a_list_takes_elements_until_it_is_full() {
        let element = json!({"value": "v".repeat(1_000)});
        let mut room = Room::default();
        let mut taken = 0;
        while room.takes(&element) {
            taken += 1;
        }
        assert!(!room.takes(&element), "it stays full");
        assert!(room.takes(&json!(1)), "what is smaller still fits");
        let most = most(&element);
        assert!((taken..taken + 10).contains(&most), "{taken} of {most}");
        let list: Vec<&Value> = vec![&element; usize::try_from(taken).unwrap()];
        assert!(fits(&list));
        let list: Vec<&Value> = vec![&element; usize::try_from(most + 1).unwrap()];
        assert!(!fits(&list));
        assert!(!fits(&"x".repeat(MAX_PAYLOAD)));
    }
}
