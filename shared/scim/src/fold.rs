//! Case folding for comparisons.
//!
//! RFC 7644 §5 requires that user names are prepared by the PRECIS profile UsernameCaseMapped (RFC
//! 8265 §3.3) before comparison. [`fold`] applies its three mappings in order: width, lower case,
//! NFC. It does not apply the restrictions of the profile (blanks, symbols, mixed direction),
//! because a name that does not satisfy them must be found as well. Values are stored as sent.
//!
//! PRECIS crates enforce the restrictions, so they fail on "Ann Example" or on an e-mail address
//! with an unusual character. For this reason none is used.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

use crate::schema::Attribute;

/// Returns a form in which texts are equal if they differ in width, case or composition only. The
/// function is idempotent.
pub fn fold(text: &str) -> String {
    folded(text).into_owned()
}

/// See [`fold`]. An ASCII text that is folded already is not copied.
pub(crate) fn folded(text: &str) -> Cow<'_, str> {
    // Nearly all values are ASCII, for which the three mappings are lower case.
    if text.is_ascii() {
        return if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    let mut mapped = String::with_capacity(text.len());
    for c in text.chars() {
        map_width(c, |c| {
            // Each letter is mapped on its own, because `co` and `sw` compare parts of a text.
            // Sigma, whose lower case depends on its position, gets one form.
            mapped.extend(c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c }));
        });
    }
    Cow::Owned(mapped.nfc().collect())
}

impl Attribute {
    /// Returns a value of this attribute in a form in which equal values are the same text: folded
    /// unless the attribute is caseExact, and without blanks at the ends if it is a name
    /// ([`Attribute::is_name`]). The function is idempotent.
    pub fn prepare(&self, text: &str) -> String {
        let prepared = if self.case_exact {
            Cow::Borrowed(text)
        } else {
            folded(text)
        };
        if self.is_name {
            prepared.trim().to_owned()
        } else {
            prepared.into_owned()
        }
    }
}

/// Returns the cost of folding a text, in units of [`ComparisonBudget`](crate::ComparisonBudget).
pub(crate) fn cost_of_folding(text: &str) -> usize {
    1 + text.len() / if text.is_ascii() { 64 } else { 4 }
}

/// Maps fullwidth and halfwidth forms to their usual forms (RFC 8264 §5.2.1): one step of
/// decomposition for `<wide>` and `<narrow>` characters only.
fn map_width(c: char, mut emit: impl FnMut(char)) {
    let usual = match u32::from(c) {
        0x3000 => 0x20,
        code @ 0xFF01..=0xFF5E => code - 0xFEE0,
        code @ 0xFF5F..=0xFF60 => code - 0xFF5F + 0x2985,
        // Katakana and its marks decompose to one character in one step.
        0xFF61..=0xFF9F => return decompose_compatible(c, emit),
        0xFFA0 => 0x3164,
        code @ 0xFFA1..=0xFFBE => code - 0xFFA1 + 0x3131,
        code @ 0xFFC2..=0xFFC7 => code - 0xFFC2 + 0x314F,
        code @ 0xFFCA..=0xFFCF => code - 0xFFCA + 0x3155,
        code @ 0xFFD2..=0xFFD7 => code - 0xFFD2 + 0x315B,
        code @ 0xFFDA..=0xFFDC => code - 0xFFDA + 0x3161,
        0xFFE0 => 0xA2,
        0xFFE1 => 0xA3,
        0xFFE2 => 0xAC,
        0xFFE3 => 0xAF,
        0xFFE4 => 0xA6,
        0xFFE5 => 0xA5,
        0xFFE6 => 0x20A9,
        0xFFE8 => 0x2502,
        code @ 0xFFE9..=0xFFEC => code - 0xFFE9 + 0x2190,
        0xFFED => 0x25A0,
        0xFFEE => 0x25CB,
        code => code,
    };
    emit(char::from_u32(usual).unwrap_or(c));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn same(a: &str, b: &str) {
        assert_eq!(fold(a), fold(b), "{a} and {b}");
    }

    /// RFC 7644 §5, RFC 8265 §3.3 (C16).
    #[test]
    fn comparison_ignores_case_width_and_composition() {
        same("Ann@Example.com", "ann@example.COM");
        same("ＡＮＮ", "ann");
        same("JU\u{308}RGEN", "jürgen");
        same("ΟΔΥΣΣΕΥΣ", "Οδυσσευς");
        same("ｶﾞ", "ガ");
        same("Ann\u{3000}B", "ann b");
    }

    /// RFC 7644 §5, RFC 8265 §3.3 (C16).
    #[test]
    fn comparison_of_names_ignores_blanks_at_the_ends() {
        let name = Attribute::text("userName", "").as_name();
        for text in ["Ann B", " ann b", "ann b\u{a0}", "\u{3000}ANN B \t"] {
            assert_eq!(name.prepare(text), "ann b", "{text:?}");
        }
        assert_eq!(name.prepare(" \u{3000}"), "");
        let exact = Attribute::text("externalId", "").case_exact().as_name();
        assert_eq!(exact.prepare(" X 1 "), "X 1");
        assert_eq!(Attribute::text("title", "").prepare("Lead "), "lead ");
    }

    #[test]
    fn different_texts_stay_different_when_folded() {
        assert_ne!(fold("strasse"), fold("straße"));
        assert_ne!(fold("ann"), fold("ann "));
        assert_ne!(fold("①"), fold("1"));
    }

    #[test]
    fn folding_accepts_any_text() {
        assert_eq!(fold("a b\u{0}☃\u{202e}"), "a b\u{0}☃\u{202e}");
        assert_eq!(fold(""), "");
    }

    #[test]
    fn folding_any_character_twice_is_folding_it_once() {
        for c in '\0'..=char::MAX {
            let once = fold(&c.to_string());
            assert_eq!(fold(&once), once, "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn folding_twice_is_folding_once_with_marks(text in "[\u{300}-\u{370}\u{1e00}-\u{1fff}\u{ac00}-\u{ac20}\u{1100}-\u{11ff}\u{ff00}-\u{ffef}A-z]{0,12}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
