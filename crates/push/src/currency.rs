//! Amounts of money as people of a language write them. Digits are never rounded away: what is shown is what is asked for.

use icu_decimal::DecimalFormatter;
use icu_decimal::input::{Decimal, SignDisplay};
use icu_decimal::options::DecimalFormatterOptions;
use icu_locale_core::locale;
use ridgeline_domain::Language;
use serde_json::{Number, Value};

/// Digits of an amount. No money has more, and with them it fits on a screen uncut.
const DIGITS_MAX: usize = 30;
/// A decimal of up to 15 digits survives the way through a double.
const DOUBLE_DIGITS_MAX: usize = 15;
/// From 10^12 on a double may be off by more than a ten-thousandth, whatever digits it shows.
const DOUBLE_INTEGER_DIGITS_MAX: usize = 12;
/// Minor digits of a currency that the table does not know.
const OTHER_MINOR_DIGITS: u8 = 2;

/// A currency of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    /// Three capital letters.
    pub code: &'static str,
    /// Digits after the separator that are always written.
    pub minor_digits: u8,
    /// What stands for it, unlike any other's; `None`: its code.
    pub symbol: Option<&'static str>,
}

const fn currency(code: &'static str, minor_digits: u8, symbol: Option<&'static str>) -> Currency {
    Currency { code, minor_digits, symbol }
}

/// Minor digits from ISO 4217, symbols as CLDR gives them to readers of English where no two currencies share one. In order of the code.
pub const CURRENCIES: &[Currency] = &[
    currency("AED", 2, None),
    currency("AUD", 2, Some("A$")),
    currency("BDT", 2, None),
    currency("BHD", 3, None),
    currency("BRL", 2, Some("R$")),
    currency("CAD", 2, Some("CA$")),
    currency("CHF", 2, None),
    currency("CLP", 0, None),
    currency("CNY", 2, Some("CN¥")),
    currency("CZK", 2, None),
    currency("DKK", 2, None),
    currency("EGP", 2, None),
    currency("EUR", 2, Some("€")),
    currency("GBP", 2, Some("£")),
    currency("HKD", 2, Some("HK$")),
    currency("HUF", 2, None),
    currency("IDR", 2, None),
    currency("ILS", 2, Some("₪")),
    currency("INR", 2, Some("₹")),
    currency("ISK", 0, None),
    currency("JOD", 3, None),
    currency("JPY", 0, Some("¥")),
    currency("KHR", 2, None),
    currency("KRW", 0, Some("₩")),
    currency("KWD", 3, None),
    currency("LAK", 2, None),
    currency("MMK", 2, None),
    currency("MXN", 2, Some("MX$")),
    currency("MYR", 2, None),
    currency("NOK", 2, None),
    currency("NZD", 2, Some("NZ$")),
    currency("OMR", 3, None),
    currency("PHP", 2, Some("₱")),
    currency("PKR", 2, None),
    currency("PLN", 2, None),
    currency("RUB", 2, None),
    currency("SAR", 2, None),
    currency("SEK", 2, None),
    currency("SGD", 2, None),
    currency("THB", 2, None),
    currency("TND", 3, None),
    currency("TRY", 2, None),
    currency("TWD", 2, Some("NT$")),
    currency("UAH", 2, None),
    currency("USD", 2, Some("$")),
    currency("VND", 0, Some("₫")),
    currency("ZAR", 2, None),
];

/// An amount with its currency, for instance `50.000 ₫` or `$1,234.50`.
///
/// `value` is a JSON number, or a string of digits with at most one point before the last of them and at most one minus before the first;
/// `code` is three letters. A currency that the table does not know is written as its code, with two minor digits.
///
/// `None` for anything else: no amount is better than another one. That holds for numbers that a double does not hold exactly, too.
#[must_use]
pub fn amount(language: Language, value: &Value, code: &str) -> Option<String> {
    let code = code.to_ascii_uppercase();
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let known = CURRENCIES.binary_search_by(|currency| currency.code.cmp(&code)).ok();
    let known = known.and_then(|at| CURRENCIES.get(at));
    let minor_digits = known.map_or(OTHER_MINOR_DIGITS, |currency| currency.minor_digits);
    let mut number = decimal(value)?;
    number.absolute.pad_end(-i16::from(minor_digits));
    let digits = formatter(language)?.format(&number).to_string();
    Some(match (known.and_then(|currency| currency.symbol), language) {
        (Some(symbol), Language::En) => match digits.strip_prefix('-') {
            Some(digits) => format!("-{symbol}{digits}"),
            None => format!("{symbol}{digits}"),
        },
        (Some(symbol), Language::Vi) => format!("{digits} {symbol}"),
        (None, _) => format!("{digits} {code}"),
    })
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => plain(text),
        Value::Number(number) if number.is_f64() => double(number),
        Value::Number(number) => plain(&number.to_string()),
        _ => None,
    }
}

/// Digits, at most one point between two of them, at most one minus before all.
fn plain(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() > DIGITS_MAX || !is_digits(integer) || !is_digits(fraction) {
        return None;
    }
    let mut number = Decimal::try_from_str(text).ok()?;
    number.absolute.trim_start();
    number.apply_sign_display(SignDisplay::Negative);
    Some(number)
}

/// The shortest decimal that reads as the same double, where that is what was written.
fn double(number: &Number) -> Option<Decimal> {
    let number = plain(&number.to_string())?;
    let integer = number.absolute.nonzero_magnitude_start() + 1;
    let significant = integer - number.absolute.nonzero_magnitude_end();
    let within = |digits: i16, max: usize| usize::try_from(digits).unwrap_or(0) <= max;
    (within(integer, DOUBLE_INTEGER_DIGITS_MAX) && within(significant, DOUBLE_DIGITS_MAX)).then_some(number)
}

/// Separators and groups of the language from CLDR, which is compiled in.
fn formatter(language: Language) -> Option<DecimalFormatter> {
    let locale = match language {
        Language::Vi => locale!("vi"),
        Language::En => locale!("en"),
    };
    DecimalFormatter::try_new(locale.into(), DecimalFormatterOptions::default()).ok()
}

#[cfg(test)]
mod tests;
