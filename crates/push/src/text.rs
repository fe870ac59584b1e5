//! What a notification says about an action.

use ridgeline_domain::Language;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::currency::amount;

/// Longest value of an action in a text, the sign for what was cut off included.
pub const VALUE_CHARS_MAX: usize = 80;
/// Marks on one letter. Languages need two or three; more cover the lines above and below.
const MARKS_MAX: usize = 4;
/// Stands for what was cut off.
const CUT: char = '…';
/// What a purchase order is in unless it says otherwise.
const PURCHASE_CURRENCY: &str = "VND";

/// A notification's texts. They hold what the action is about, so there is no `Debug` of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// First line.
    pub title: String,
    /// What stands below it, in one line.
    pub body: String,
}

/// What is said about an action of this type with this payload.
///
/// | type | members of the payload |
/// |---|---|
/// | `payment_approval` | `amount`, `currency`; `recipient` may be missing |
/// | `document_approval` | `documentName` |
/// | `purchase_order` | `supplier`, `amount`; `currency` may be missing: VND |
/// | `user_access` | `username` |
///
/// Any other type, and a payload with a member missing or of another kind, is a general notice. Values come after our own words and after the
/// amount, cleaned of what does not show or reorders what does, in one line and cut at [`VALUE_CHARS_MAX`].
#[must_use]
pub fn notice(language: Language, action_type: &str, payload: &Map<String, Value>) -> Notice {
    let special = match action_type {
        "payment_approval" => payment(language, payload),
        "document_approval" => document(language, payload),
        "purchase_order" => purchase(language, payload),
        "user_access" => access(language, payload),
        _ => None,
    };
    special.unwrap_or_else(|| general(language))
}

fn payment(language: Language, payload: &Map<String, Value>) -> Option<Notice> {
    let amount = amount(language, payload.get("amount")?, payload.get("currency")?.as_str()?)?;
    let recipient = present(payload, "recipient").map(shown);
    Some(match (language, recipient) {
        (Language::Vi, None) => said("Xác nhận thanh toán", format!("Thanh toán {amount}")),
        (Language::Vi, Some(to)) => said("Xác nhận thanh toán", format!("Thanh toán {amount} cho: {}", to?)),
        (Language::En, None) => said("Confirm payment", format!("Payment of {amount}")),
        (Language::En, Some(to)) => said("Confirm payment", format!("Payment of {amount} to: {}", to?)),
    })
}

fn document(language: Language, payload: &Map<String, Value>) -> Option<Notice> {
    let name = shown(payload.get("documentName")?)?;
    Some(match language {
        Language::Vi => said("Phê duyệt tài liệu", format!("Tài liệu chờ bạn phê duyệt: {name}")),
        Language::En => said("Approve document", format!("Document awaiting your approval: {name}")),
    })
}

fn purchase(language: Language, payload: &Map<String, Value>) -> Option<Notice> {
    let currency = present(payload, "currency").map_or(Some(PURCHASE_CURRENCY), Value::as_str)?;
    let amount = amount(language, payload.get("amount")?, currency)?;
    let supplier = shown(payload.get("supplier")?)?;
    Some(match language {
        Language::Vi => said("Phê duyệt đơn đặt hàng", format!("Đơn đặt hàng {amount}, nhà cung cấp: {supplier}")),
        Language::En => said("Approve purchase order", format!("Purchase order of {amount}, supplier: {supplier}")),
    })
}

fn access(language: Language, payload: &Map<String, Value>) -> Option<Notice> {
    let username = shown(payload.get("username")?)?;
    Some(match language {
        Language::Vi => said("Xác nhận quyền truy cập", format!("Yêu cầu truy cập của người dùng: {username}")),
        Language::En => said("Confirm user access", format!("Access requested for user: {username}")),
    })
}

fn general(language: Language) -> Notice {
    match language {
        Language::Vi => {
            said("Yêu cầu xác nhận", "Một thao tác đang chờ bạn xác nhận. Hãy mở ứng dụng để xem chi tiết.".to_owned())
        }
        Language::En => said(
            "Confirmation required",
            "An action is waiting for your confirmation. Open the app to see the details.".to_owned(),
        ),
    }
}

fn said(title: &str, body: String) -> Notice {
    Notice { title: title.to_owned(), body }
}

/// A member that is there. `null` is how some say that it is not.
fn present<'a>(payload: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    payload.get(name).filter(|value| !value.is_null())
}

/// A text as it may stand in a line of ours, if anything of it shows.
fn shown(value: &Value) -> Option<String> {
    let mut marks = 0;
    let mut after_space = true;
    let visible = value.as_str()?.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_hidden(*c));
    let kept = visible.nfc().filter(|c| {
        marks = if is_combining_mark(*c) { marks + 1 } else { 0 };
        let keeps = if *c == ' ' { !after_space } else { marks <= if after_space { 0 } else { MARKS_MAX } };
        after_space = if keeps { *c == ' ' } else { after_space };
        keeps
    });
    let text: Vec<char> = kept.take(VALUE_CHARS_MAX + 1).collect();
    let text = if text.len() > VALUE_CHARS_MAX { cut(&text) } else { text.iter().collect() };
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Makes room for the sign. A letter that would lose a mark, and so become another one, goes too.
fn cut(text: &[char]) -> String {
    let mut end = VALUE_CHARS_MAX - 1;
    while end > 0 && text.get(end).is_some_and(|c| is_combining_mark(*c)) {
        end -= 1;
    }
    let kept: String = text.iter().take(end).collect();
    format!("{}{CUT}", kept.trim_end())
}

/// Control characters, and what has no shape of its own: marks of direction, joiners, fillers, selectors, tags
/// (`Default_Ignorable_Code_Point` of Unicode, and the annotations).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
