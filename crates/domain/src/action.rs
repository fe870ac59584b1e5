//! Words about actions that must be approved.

use crate::words;

words! {
    /// How far an action is (V-3: it leaves pending once).
    ActionStatus as "action status" {
        /// Waits for approvals.
        Pending = "pending",
        /// Everybody who must has signed.
        Approved = "approved",
        /// Somebody who may has said no.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

words! {
    /// How far a notification to a device is.
    DeliveryStatus as "delivery status" {
        /// To be sent.
        Pending = "pending",
        /// Taken over by the push service.
        Sent = "sent",
        /// Shown to the user, as the device says.
        Delivered = "delivered",
        /// Not sent, for good.
        Failed = "failed",
    }
}

/// An amount of money as the payload of an action writes it, exact: millionths. Ordered.
///
/// 0 to 10^24, at most six digits behind the point; no sign, exponent or grouping: two readers read the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(i128);

/// The text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount is digits, and after a point at most six more, without sign, exponent or grouping")]
pub struct AmountError;

const WHOLE_DIGITS_MAX: usize = 24;
const DECIMALS: usize = 6;

impl std::str::FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = whole.len() <= WHOLE_DIGITS_MAX && decimals.len() <= DECIMALS;
        if !fits || !are_digits(whole) || !are_digits(decimals) {
            return Err(AmountError);
        }
        let digits = format!("{whole}{decimals:0<DECIMALS$}");
        digits.parse().map(Self).map_err(|_| AmountError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_ordered() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        assert_eq!(amount("50000"), amount("50000.0"));
        assert_eq!(amount("0.1"), amount("00.100000"));
        assert!(amount("99999999.999999") < amount("100000000"));
        assert!(amount("9") < amount("10"), "by value, not by spelling");
        assert!("9".repeat(24).parse::<Amount>().is_ok());
    }

    #[test]
    fn what_two_readers_may_read_differently_is_no_amount() {
        let long = "9".repeat(25);
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,000",
            "1.000.000",
            "1 000",
            "0x10",
            "٣",
            "1.1234567",
            "NaN",
            &long,
        ] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError), "{text}");
        }
    }
}
