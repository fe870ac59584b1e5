//! What a person is shown of texts that others wrote: nothing hidden, nothing that moves the cursor or turns the reading.

use serde_json::{Map, Value};

/// Characters that are not seen, or change how others are seen: marks of direction, joiners, fillers, selectors of variants,
/// tags (Unicode 16, `Default_Ignorable_Code_Point` and `Bidi_Control`), and separators of lines.
const UNSEEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// A text with all that is not seen written out as `\uXXXX`; lines stay lines.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_unseen = c.is_control() && c != '\n' || UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c));
        if is_unseen {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// The payload of an action as indented JSON, [`visible`].
#[must_use]
pub fn shown_payload(payload: &Map<String, Value>) -> String {
    visible(&serde_json::to_string_pretty(payload).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_hides_nothing_and_stays_the_same_json() {
        let payload = json!({
            "to": "Nguyễn\u{202e}nnA",
            "note": "a\u{7f}\u{9b}2J\u{1b}[2J\u{200b}\u{e0041}\u{2028}b\nc",
            "amount": 1_000_000,
        });
        let shown = shown_payload(payload.as_object().unwrap());
        assert!(shown.is_ascii() || !shown.contains('\u{202e}'));
        for c in ['\u{7f}', '\u{9b}', '\u{1b}', '\u{200b}', '\u{e0041}', '\u{2028}', '\u{202e}'] {
            assert!(!shown.contains(c), "{c:?}");
        }
        assert!(shown.contains("Nguyễn\\u202e") && shown.contains("\n  \"amount\": 1000000"), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), payload);
    }
}
