use proptest::prelude::*;
use ridgeline_testkit::covers;
use serde_json::json;

use super::*;

fn vi(value: Value, code: &str) -> Option<String> {
    amount(Language::Vi, &value, code)
}

fn en(value: Value, code: &str) -> Option<String> {
    amount(Language::En, &value, code)
}

#[test]
fn dong_have_points_between_thousands_no_minor_digits_and_their_sign() {
    covers!("R-309");
    for (value, vietnamese, english) in [
        (json!(50_000), "50.000 ₫", "₫50,000"),
        (json!("50000"), "50.000 ₫", "₫50,000"),
        (json!(50_000.0), "50.000 ₫", "₫50,000"),
        (json!("50000.00"), "50.000 ₫", "₫50,000"),
        (json!(0), "0 ₫", "₫0"),
        (json!(999), "999 ₫", "₫999"),
        (json!(1_000), "1.000 ₫", "₫1,000"),
        (json!(1_234_567_890), "1.234.567.890 ₫", "₫1,234,567,890"),
        (json!(-50_000), "-50.000 ₫", "-₫50,000"),
        (json!("-0"), "0 ₫", "₫0"),
        (json!("000050000"), "50.000 ₫", "₫50,000"),
        (json!(u64::MAX), "18.446.744.073.709.551.615 ₫", "₫18,446,744,073,709,551,615"),
    ] {
        assert_eq!(vi(value.clone(), "VND").as_deref(), Some(vietnamese), "{value}");
        assert_eq!(en(value.clone(), "vnd").as_deref(), Some(english), "{value}");
    }
}

#[test]
fn no_digit_is_rounded_away() {
    covers!("R-309");
    assert_eq!(vi(json!(50_000.7), "VND").as_deref(), Some("50.000,7 ₫"));
    assert_eq!(vi(json!("50000.70"), "VND").as_deref(), Some("50.000,7 ₫"));
    assert_eq!(en(json!("0.999"), "USD").as_deref(), Some("$0.999"));
    assert_eq!(
        en(json!("1234567890123456789012345678.5"), "JPY").as_deref(),
        Some("¥1,234,567,890,123,456,789,012,345,678.5")
    );
}

#[test]
fn other_currencies_have_their_digits_and_their_sign_or_code() {
    for (code, vietnamese, english) in [
        ("USD", "1.234,50 $", "$1,234.50"),
        ("EUR", "1.234,50 €", "€1,234.50"),
        ("AUD", "1.234,50 A$", "A$1,234.50"),
        ("JPY", "1.234,5 ¥", "¥1,234.5"),
        ("KWD", "1.234,500 KWD", "1,234.500 KWD"),
        ("CHF", "1.234,50 CHF", "1,234.50 CHF"),
        ("XYZ", "1.234,50 XYZ", "1,234.50 XYZ"),
    ] {
        assert_eq!(vi(json!(1234.5), code).as_deref(), Some(vietnamese));
        assert_eq!(en(json!(1234.5), code).as_deref(), Some(english));
    }
    assert_eq!(en(json!(-5), "USD").as_deref(), Some("-$5.00"));
    assert_eq!(en(json!(-5), "CHF").as_deref(), Some("-5.00 CHF"));
}

#[test]
fn what_is_no_amount_is_not_shown() {
    let words =
        ["", "-", ".", "5.", ".5", "+5", "--5", "1e5", "1,5", "5 ", " 5", "0x5", "٥", "NaN", "Infinity", "5.5.5", "5-"];
    for word in words {
        assert_eq!(vi(json!(word), "VND"), None, "{word:?}");
    }
    for value in
        [json!(null), json!(true), json!([5]), json!({"amount": 5}), json!("1".repeat(31)), json!("1".repeat(1 << 20))]
    {
        assert_eq!(vi(value, "VND"), None);
    }
    for code in ["", "VN", "VNDX", "VN1", "V D", "₫", "ĐÔN", "V\nD", "vnđ"] {
        assert_eq!(vi(json!(5), code), None, "{code:?}");
    }
}

/// The text of a payload, as it came.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_number_that_a_double_does_not_hold_is_not_shown() {
    for text in [
        "1000000000000000000000001", // one below it is the nearest double
        "1000000000000.5",
        "123456789012.34567",
        "18446744073709551616",
        "0.30000000000000004",
        "1e300",
        "1e-7",
    ] {
        assert_eq!(vi(parsed(text), "VND"), None, "{text}");
    }
    assert_eq!(vi(parsed("999999999999.25"), "VND").as_deref(), Some("999.999.999.999,25 ₫"));
    assert_eq!(vi(parsed("1e3"), "VND").as_deref(), Some("1.000 ₫"));
}

#[test]
fn the_table_is_in_order_and_no_two_currencies_look_alike() {
    assert!(CURRENCIES.len() >= 30);
    assert!(CURRENCIES.is_sorted_by(|left, right| left.code < right.code));
    let symbols: Vec<&str> = CURRENCIES.iter().filter_map(|currency| currency.symbol).collect();
    let distinct: std::collections::BTreeSet<&str> = symbols.iter().copied().collect();
    assert_eq!(symbols.len(), distinct.len());
    for currency in CURRENCIES {
        assert!(currency.code.len() == 3 && currency.minor_digits <= 3, "{currency:?}");
        assert!(vi(json!(1), currency.code).is_some(), "{currency:?}");
    }
}

/// The digits of what is shown, as the plain decimal they mean.
fn meant(shown: &str, language: Language) -> String {
    let (group, point) = if language == Language::Vi { ('.', ',') } else { (',', '.') };
    let plain: String = shown.chars().filter(|c| *c != group).map(|c| if c == point { '.' } else { c }).collect();
    plain.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect()
}

/// A decimal without zeros that say nothing.
fn bare(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let integer = integer.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let number = format!("{}.{fraction}", if integer.is_empty() { "0" } else { integer });
    let number = number.trim_end_matches('.');
    if number == "0" { "0".to_owned() } else { format!("{sign}{number}") }
}

fn code() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(CURRENCIES).prop_map(|currency| currency.code.to_owned()), "[A-Z]{3}"]
}

proptest! {
    #[test]
    fn what_is_shown_is_what_is_asked_for(
        text in "-?[0-9]{1,18}(\\.[0-9]{1,11})?",
        code in code(),
        language in proptest::sample::select(Language::ALL),
    ) {
        covers!("R-309");
        let shown = amount(language, &json!(text), &code).unwrap();
        prop_assert_eq!(bare(&meant(&shown, language)), bare(&text), "{}", shown);
    }

    #[test]
    fn so_are_integers_and_short_decimals_of_json(
        integer in any::<i64>(),
        cents in -99_999_999_999_999_i64..=99_999_999_999_999,
        language in proptest::sample::select(Language::ALL),
    ) {
        let shown = amount(language, &json!(integer), "XYZ").unwrap();
        prop_assert_eq!(bare(&meant(&shown, language)), bare(&integer.to_string()));
        let text = format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
        let shown = amount(language, &parsed(&text), "XYZ").unwrap();
        prop_assert_eq!(bare(&meant(&shown, language)), bare(&text));
    }

    #[test]
    fn a_number_of_json_is_shown_to_the_thousandth_or_not_at_all(text in "[1-9][0-9]{0,24}\\.[0-9]{1,20}") {
        if let Some(shown) = amount(Language::En, &parsed(&text), "XYZ") {
            let thousandths = |text: &str| -> i128 {
                let (integer, fraction) = text.split_once('.').unwrap();
                format!("{integer}{:0<9.9}", fraction).parse().unwrap()
            };
            let off = thousandths(&meant(&shown, Language::En)) - thousandths(&text);
            prop_assert!(off.abs() < 1_000_000, "{} for {}", shown, text);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), code in any::<String>(), number in any::<f64>()) {
        let _ = amount(Language::Vi, &json!(text), &code);
        let _ = amount(Language::Vi, &json!(text), "VND");
        let _ = amount(Language::En, &json!(number), "USD");
    }
}
