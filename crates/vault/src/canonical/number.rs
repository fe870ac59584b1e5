//! Numbers as ECMAScript writes them (`Number::toString`, which RFC 8785 refers to).

/// Writes a finite number: the fewest digits that read back as it, and of those the nearest.
pub(super) fn write(number: f64, out: &mut String) {
    if number == 0.0 {
        // Negative zero has no sign here.
        out.push('0');
        return;
    }
    if number < 0.0 {
        out.push('-');
    }
    let shortest = shortest(number.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replacen('.', "", 1);
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The number is 0.ddd… × 10^point.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    match point {
        1..=21 if count <= point => {
            out.push_str(&digits);
            push_zeros(point - count, out);
        }
        1..=21 => push_with_point(&digits, point, out),
        -5..=0 => {
            out.push_str("0.");
            push_zeros(-point, out);
            out.push_str(&digits);
        }
        _ => {
            if count == 1 {
                out.push_str(&digits);
            } else {
                push_with_point(&digits, 1, out);
            }
            out.push_str(if point > 0 { "e+" } else { "e-" });
            out.push_str(&(point - 1).abs().to_string());
        }
    }
}

/// `d.ddd…e±x` of a positive number: the fewest digits that read back as it, of those the nearest, of two equally near ones the
/// even one.
fn shortest(number: f64) -> String {
    let fewest = format!("{number:e}");
    // The standard library promises the number of digits, not which of two neighbours it takes. Rounding the exact value to that
    // many digits is to the nearest and to even.
    let decimals =
        fewest.split_once('e').and_then(|(mantissa, _)| mantissa.split_once('.')).map_or(0, |(_, it)| it.len());
    let nearest = format!("{number:.decimals$e}");
    if nearest.parse() == Ok(number) { nearest } else { fewest }
}

fn push_zeros(count: i32, out: &mut String) {
    out.extend((0..count).map(|_| '0'));
}

fn push_with_point(digits: &str, point: i32, out: &mut String) {
    let at = usize::try_from(point).unwrap_or(0);
    let (whole, fraction) = digits.split_at_checked(at).unwrap_or((digits, ""));
    out.push_str(whole);
    out.push('.');
    out.push_str(fraction);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    fn text(number: f64) -> String {
        let mut out = String::new();
        write(number, &mut out);
        out
    }

    #[test]
    fn the_samples_of_rfc_8785_appendix_b() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(text(f64::from_bits(bits)), expected, "{bits:016x}");
        }
    }

    /// The digest is over what `JSON.stringify` of V8 writes for the same numbers, one a line: any doubles, doubles below two, and
    /// amounts of money.
    #[test]
    fn another_implementation_writes_the_same() {
        let (mut state, mut digest) = (0_u64, Sha256::new());
        for _ in 0..100_000 {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bits = mixed ^ (mixed >> 31);
            let below_two = (bits & 0x803f_ffff_ffff_ffff) | (0x3fc0_0000_0000_0000 ^ (((bits >> 52) & 0x3f) << 52));
            #[expect(clippy::cast_precision_loss, reason = "40 bits are exact")]
            let amount = (bits >> 24) as f64 / 100.0;
            for number in [f64::from_bits(bits), f64::from_bits(below_two), amount] {
                if number.is_finite() {
                    digest.update(text(number));
                    digest.update("\n");
                }
            }
        }
        let expected = "21870e5af9661bf06374b6639a94a2b7cef187c74c2d4ceefbbfea6a53afd719";
        assert_eq!(hex(&digest.finalize()), expected);
    }

    #[test]
    fn layouts_change_where_ecmascript_changes_them() {
        for (number, expected) in [
            (1.0, "1"),
            (-1.5, "-1.5"),
            (50_000.0, "50000"),
            (123_456.789, "123456.789"),
            (1e20, "100000000000000000000"),
            (1.5e21, "1.5e+21"),
            (1.25e-5, "0.0000125"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(text(number), expected);
        }
    }

    #[test]
    fn of_two_digits_equally_near_the_even_one_is_written() {
        for (quarters, expected) in [
            (5_699_815_695_124_825.0, "1424953923781206.2"),
            (5_699_815_695_124_827.0, "1424953923781206.8"),
            (4_503_599_627_370_501.0, "1125899906842625.2"),
            (-4_503_599_627_370_503.0, "-1125899906842625.8"),
        ] {
            assert_eq!(text(quarters / 4.0), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let written = text(number);
            prop_assert_eq!(written.parse::<f64>().unwrap(), number, "{}", written);
        }
    }
}
