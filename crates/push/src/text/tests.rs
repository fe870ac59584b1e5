use proptest::prelude::*;
use ridgeline_testkit::covers;
use serde_json::json;

use super::*;

fn map(payload: Value) -> Map<String, Value> {
    let Value::Object(payload) = payload else { panic!("a payload is an object") };
    payload
}

fn both(action_type: &str, payload: Value) -> [(String, String); 2] {
    let payload = map(payload);
    [Language::Vi, Language::En].map(|language| {
        let Notice { title, body } = notice(language, action_type, &payload);
        (title, body)
    })
}

#[track_caller]
fn assert_says(action_type: &str, payload: Value, vietnamese: (&str, &str), english: (&str, &str)) {
    let [vi, en] = both(action_type, payload);
    assert_eq!((vi.0.as_str(), vi.1.as_str()), vietnamese);
    assert_eq!((en.0.as_str(), en.1.as_str()), english);
}

#[track_caller]
fn assert_general(action_type: &str, payload: Value) {
    assert_says(
        action_type,
        payload,
        ("Yêu cầu xác nhận", "Một thao tác đang chờ bạn xác nhận. Hãy mở ứng dụng để xem chi tiết."),
        ("Confirmation required", "An action is waiting for your confirmation. Open the app to see the details."),
    );
}

#[test]
fn a_payment_names_amount_currency_and_recipient() {
    covers!("R-131", "R-308", "R-309");
    assert_says(
        "payment_approval",
        json!({"amount": 50_000, "currency": "VND"}),
        ("Xác nhận thanh toán", "Thanh toán 50.000 ₫"),
        ("Confirm payment", "Payment of ₫50,000"),
    );
    assert_says(
        "payment_approval",
        json!({"amount": "1234.5", "currency": "USD", "recipient": "Nguyễn Văn A"}),
        ("Xác nhận thanh toán", "Thanh toán 1.234,50 $ cho: Nguyễn Văn A"),
        ("Confirm payment", "Payment of $1,234.50 to: Nguyễn Văn A"),
    );
    assert_eq!(
        both("payment_approval", json!({"amount": 5, "currency": "EUR", "recipient": null}))[1].1,
        "Payment of €5.00"
    );
}

#[test]
fn a_document_is_named() {
    covers!("R-132", "R-308");
    assert_says(
        "document_approval",
        json!({"documentName": "Hợp đồng số 12"}),
        ("Phê duyệt tài liệu", "Tài liệu chờ bạn phê duyệt: Hợp đồng số 12"),
        ("Approve document", "Document awaiting your approval: Hợp đồng số 12"),
    );
}

#[test]
fn a_purchase_order_names_supplier_and_dong_unless_it_says_otherwise() {
    covers!("R-133", "R-308", "R-309");
    assert_says(
        "purchase_order",
        json!({"supplier": "Thép Việt", "amount": 125_000_000}),
        ("Phê duyệt đơn đặt hàng", "Đơn đặt hàng 125.000.000 ₫, nhà cung cấp: Thép Việt"),
        ("Approve purchase order", "Purchase order of ₫125,000,000, supplier: Thép Việt"),
    );
    let [vi, en] = both("purchase_order", json!({"supplier": "S", "amount": 7.25, "currency": "EUR"}));
    assert_eq!(vi.1, "Đơn đặt hàng 7,25 €, nhà cung cấp: S");
    assert_eq!(en.1, "Purchase order of €7.25, supplier: S");
}

#[test]
fn an_access_names_the_user() {
    covers!("R-134", "R-308");
    assert_says(
        "user_access",
        json!({"username": "lan.tran@example.com"}),
        ("Xác nhận quyền truy cập", "Yêu cầu truy cập của người dùng: lan.tran@example.com"),
        ("Confirm user access", "Access requested for user: lan.tran@example.com"),
    );
}

#[test]
fn whatever_is_missing_or_of_another_kind_makes_a_general_notice() {
    assert_general("", json!({}));
    assert_general("Payment_Approval", json!({"amount": 1, "currency": "VND"}));
    assert_general("wire_transfer\n", json!({"amount": 1}));
    for payload in [
        json!({}),
        json!({"amount": 5}),
        json!({"currency": "VND"}),
        json!({"amount": null, "currency": "VND"}),
        json!({"amount": "five", "currency": "VND"}),
        json!({"amount": 5, "currency": 704}),
        json!({"amount": 5, "currency": "dong"}),
        json!({"amount": {"value": 5}, "currency": "VND"}),
        json!({"amount": 5, "currency": "VND", "recipient": ["a"]}),
        json!({"amount": 5, "currency": "VND", "recipient": " \u{200b}\n"}),
    ] {
        assert_general("payment_approval", payload);
    }
    for payload in [
        json!({"supplier": "S"}),
        json!({"amount": 5}),
        json!({"supplier": 5, "amount": 5}),
        json!({"supplier": "", "amount": 5}),
        json!({"supplier": "S", "amount": 5, "currency": false}),
    ] {
        assert_general("purchase_order", payload);
    }
    for payload in [json!({}), json!({"documentName": 5}), json!({"documentName": "\u{202e}\u{0}\u{2800}"})] {
        assert_general("document_approval", payload);
    }
    for payload in [json!({"userName": "a"}), json!({"username": {"a": "b"}}), json!({"username": "\u{301}"})] {
        assert_general("user_access", payload);
    }
}

fn name(text: &str) -> String {
    shown(&json!(text)).unwrap()
}

#[test]
fn values_cannot_reorder_break_or_cover_the_line() {
    assert_eq!(name("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e"), "abcde");
    assert_eq!(name("  a\r\n\tb\u{2028}c\u{85}d \u{a0} e  "), "a b c d e");
    assert_eq!(name("a\0b\u{7f}c\u{9b}d\u{1b}[31m"), "abcd[31m");
    assert_eq!(name("a\u{200b}\u{feff}\u{ad}\u{e0041}b"), "ab");
    assert_eq!(name(&format!("x{}y", "\u{332}".repeat(50))), format!("x{}y", "\u{332}".repeat(4)));
    assert_eq!(name("\u{301}\u{301}a"), "a");
    assert_eq!(name("a \u{301}b"), "a b");
}

#[test]
fn letters_are_composed_and_long_values_cut_between_them() {
    assert_eq!(name("Nguye\u{302}\u{303}n"), "Nguy\u{1ec5}n");
    assert_eq!(name(&"ễ".repeat(80)), "ễ".repeat(80));
    assert_eq!(name(&"ễ".repeat(81)), format!("{}…", "ễ".repeat(79)));
    assert_eq!(name(&format!("{}x\u{332}y", "a".repeat(78))), format!("{}…", "a".repeat(78)));
    assert_eq!(name(&format!("{} bcd", "a".repeat(78))), format!("{}…", "a".repeat(78)));
    let mut payload = Map::new();
    payload.insert("documentName".to_owned(), json!("x".repeat(1 << 20)));
    assert!(notice(Language::Vi, "document_approval", &payload).body.chars().count() < 120);
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![any::<String>(), "[\\u{200b}-\\u{202e}\\u{300}-\\u{36f}\\u{0}-\\u{20}a]{0,200}"];
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        hostile().prop_map(Value::String),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        Just(Value::Null),
        Just(json!([{"a": 1}])),
    ]
}

proptest! {
    #[test]
    fn no_payload_makes_a_text_that_is_long_broken_or_empty(
        action_type in prop_oneof![
            proptest::sample::select(&["payment_approval", "document_approval", "purchase_order", "user_access"]).prop_map(str::to_owned),
            any::<String>(),
        ],
        members in proptest::collection::vec(member(), 6),
        language in proptest::sample::select(Language::ALL),
    ) {
        let names = ["amount", "currency", "recipient", "documentName", "supplier", "username"];
        let payload = names.iter().map(|name| (*name).to_owned()).zip(members).collect();
        let Notice { title, body } = notice(language, &action_type, &payload);
        prop_assert!(!title.is_empty() && !body.is_empty());
        prop_assert!(body.chars().count() <= 200, "{}", body);
        prop_assert!(!body.chars().any(is_hidden), "{:?}", body);
        prop_assert!(!body.chars().any(|c| c.is_whitespace() && c != ' ' ), "{:?}", body);
    }

    #[test]
    fn a_value_is_cut_once_and_then_left_alone(text in hostile()) {
        if let Some(once) = shown(&json!(text)) {
            prop_assert!(once.chars().count() <= VALUE_CHARS_MAX);
            prop_assert_eq!(shown(&json!(once)), Some(once));
        }
    }
}
