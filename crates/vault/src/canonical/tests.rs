use proptest::prelude::*;

use super::*;
use crate::testing::hex;

fn refused(text: &str) -> CanonicalError {
    canonical_json(text).unwrap_err()
}

#[test]
fn the_sample_of_rfc_8785() {
    // Section 3.2.2, without the number that is beyond our limit of integers.
    let text = r#"{
        "numbers": [333333333.33333329, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(canonical_json(text).unwrap(), expected);
}

#[test]
fn members_are_in_the_order_of_utf_16() {
    // Section 3.2.3: by code points the smiling face would come last.
    let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let written = canonical_json(text).unwrap();
    let values: Vec<_> = written.split(',').map(|member| member.rsplit('"').nth(1).unwrap()).collect();
    let expected = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ];
    assert_eq!(values, expected);
}

#[test]
fn texts_are_escaped_as_little_as_possible() {
    let text = r#"{"k":"\u0000\u0001\b\t\n\f\r\u001F\u007f\u2028Điện thoại\/\ud83d\ude00"}"#;
    let expected = "{\"k\":\"\\u0000\\u0001\\b\\t\\n\\f\\r\\u001f\u{7f}\u{2028}Điện thoại/\u{1f600}\"}";
    assert_eq!(canonical_json(text).unwrap(), expected);
    let composed = [r#"{"k":"\u00e9"}"#, r#"{"k":"e\u0301"}"#].map(|text| canonical_json(text).unwrap());
    assert_ne!(composed[0], composed[1], "texts are not normalised");
}

#[test]
fn one_content_has_one_form() {
    let expected = r#"{"amount":50000,"currency":"VND","to":["a",{}]}"#;
    for text in [
        expected,
        r#"{"currency":"VND","amount":50000,"to":["a",{}]}"#,
        r#"{"amount":5e4,"currency":"\u0056ND","to":["a",{}]}"#,
        "\r\n{\t\"to\" : [ \"a\" , { } ] ,\n\"amount\":50000.0, \"currency\":\"VND\" } ",
    ] {
        assert_eq!(canonical_json(text).unwrap(), expected, "{text}");
    }
    assert_eq!(canonical_json("{}").unwrap(), "{}");
    assert_eq!(canonical_json(r#"{"":-0.0,"a":-0}"#).unwrap(), r#"{"":0,"a":0}"#);
}

#[test]
fn golden_action_digest() {
    // SHA-256 of {"actionPayload":{"amount":50000,"currency":"VND","recipient":"Lan"},"actionType":"payment_approval"}
    let payload = r#"{"recipient": "Lan", "currency": "VND", "amount": 50000}"#;
    let digest = "4d6deac8caea3f37d93cce77f6c0063152dc838f72626f5e2720aac4034a95c3";
    assert_eq!(hex(&action_digest("payment_approval", payload).unwrap()), digest);
    for (other_type, other_payload) in [
        ("payment_approvaL", payload),
        ("payment_approval", &payload.replace("50000", "50001")),
        ("payment_approval", &payload.replace("50000", "\"50000\"")),
        ("payment_approval", "{}"),
    ] {
        assert_ne!(hex(&action_digest(other_type, other_payload).unwrap()), digest);
    }
    // A type cannot run over into the payload.
    let quoted = action_digest("a\",\"b\":\"c", "{}").unwrap();
    assert_ne!(quoted, action_digest("a", "{}").unwrap());
    assert_eq!(action_digest("a", "[]"), Err(CanonicalError::NotAnObject));
    assert_eq!(action_digest("a", r#"{"x":1,"x":1}"#), Err(CanonicalError::DuplicateKey));
}

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_spelled() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"a":{"b":1,"c":2,"b":3}}"#, r#"{"x":[{"":1,"":2}]}"#]
    {
        assert_eq!(refused(text), CanonicalError::DuplicateKey, "{text}");
    }
    assert!(canonical_json(r#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
}

#[test]
fn integers_end_at_2_to_the_53() {
    let of = |number: &str| canonical_json(&format!(r#"{{"n":[{number}]}}"#));
    for fits in ["9007199254740992", "-9007199254740992", "9007199254740991.0", "4503599627370496.5"] {
        assert!(of(fits).is_ok(), "{fits}");
    }
    for beyond in [
        "9007199254740993",
        "-9007199254740993",
        "9007199254740993.0",
        "9007199254740992.5",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "100000000000000000000000000000000000000000",
        "1e16",
        "1e300",
    ] {
        assert_eq!(of(beyond).unwrap_err(), CanonicalError::Integer, "{beyond}");
    }
    for no_double in ["1e309", "-1e999", "NaN", "Infinity", "-Infinity", "0x10", "01", "+1", ".5", "1.", "1e", "-"] {
        assert_eq!(of(no_double).unwrap_err(), CanonicalError::Malformed, "{no_double}");
    }
}

#[test]
fn numbers_are_read_to_the_nearest_double() {
    let of = |number: &str| canonical_json(&format!(r#"{{"n":{number}}}"#)).unwrap();
    for (text, expected) in [
        ("0.3", "0.3"),
        ("1.1e-10", "1.1e-10"),
        ("4891559871276714924261e-21", "4.891559871276715"),
        ("2.2250738585072011e-308", "2.225073858507201e-308"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.1000000000000000055511151231257827021181583404541015625", "0.1"),
        ("1e-400", "0"),
    ] {
        assert_eq!(of(text), format!(r#"{{"n":{expected}}}"#), "{text}");
    }
}

#[test]
fn nesting_ends_at_16_levels() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!(r#"{{"a":{}{inner}{}}}"#, open.repeat(times), close.repeat(times))
    };
    assert!(canonical_json(&nested("[", "", "]", 15)).is_ok());
    assert!(canonical_json(&nested(r#"{"a":"#, "1", "}", 15)).is_ok());
    assert_eq!(refused(&nested("[", "", "]", 16)), CanonicalError::TooDeep);
    assert_eq!(refused(&nested(r#"{"a":"#, "1", "}", 16)), CanonicalError::TooDeep);
    assert_eq!(refused(&format!(r#"{{"a":{}"#, "[".repeat(4000))), CanonicalError::TooDeep);
}

#[test]
fn texts_have_a_limit() {
    let of = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    assert_eq!(canonical_json(&of(4096)).unwrap().len(), 4096);
    assert_eq!(refused(&of(4097)), CanonicalError::TooLong);
}

#[test]
fn what_is_no_object_is_refused() {
    for other in ["null", "true", "1", "\"{}\"", "[]", "[{}]", " 1 "] {
        assert_eq!(refused(other), CanonicalError::NotAnObject, "{other}");
    }
    for garbage in [
        "",
        " ",
        "{",
        "}",
        "{}{}",
        "{} x",
        "{a:1}",
        "{'a':1}",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{1:1}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"\ud800":1}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":1}\0",
        "\u{feff}{}",
        "{\"a\":1 /* x */}",
    ] {
        assert_eq!(refused(garbage), CanonicalError::Malformed, "{garbage}");
    }
}

#[test]
fn every_part_of_a_text_is_refused() {
    let whole = r#"{"a":[1.5,"é\u00e9",{"b":null}],"c":true}"#;
    assert!(canonical_json(whole).is_ok());
    for (len, _) in whole.char_indices() {
        assert_eq!(refused(&whole[..len]), CanonicalError::Malformed, "{len} bytes");
    }
}

#[test]
fn errors_repeat_nothing_of_the_text() {
    for text in [r#"{"hidden":1,"hidden":2}"#, r#"{"a":"hidden"#, r#"{"hidden":99999999999999999999}"#, "\"hidden\""] {
        let error = refused(text);
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
    }
}

/// JSON that has a canonical form.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let number = (-1e15..1e15).prop_map(|number: f64| serde_json::json!(number));
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(|it| serde_json::json!(it)),
        any::<i32>().prop_map(|it| serde_json::json!(it)),
        number,
        ".{0,8}".prop_map(|it| serde_json::json!(it)),
    ];
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|it| serde_json::json!(it)),
            proptest::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|it| serde_json::json!(it)),
        ]
    });
    proptest::collection::btree_map(".{0,4}", value, 0..4).prop_map(|it| serde_json::json!(it))
}

/// As JavaScript compares them: all numbers are doubles.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(a), Number(b)) => a.as_f64() == b.as_f64(),
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Object(a), Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b))),
        (a, b) => a == b,
    }
}

proptest! {
    #[test]
    fn the_canonical_form_says_the_same_and_is_its_own(value in json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assume!(pretty.len() <= CANONICAL_BYTES_MAX);
        let written = canonical_json(&pretty).unwrap();
        prop_assert!(same(&serde_json::from_str(&written).unwrap(), &value), "{}", written);
        prop_assert_eq!(canonical_json(&written).unwrap(), written);
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        prop_assert!(canonical_json(&text).is_err());
        let _ = canonical_json(&format!("{{{text}}}"));
    }
}
