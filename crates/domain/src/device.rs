//! Words about registered devices.

use crate::words;

words! {
    /// How a device signs. Fixed when its key is registered; a signature does not name it.
    KeyAlgorithm as "key algorithm" {
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and 32 bytes of salt.
        Ps256 = "PS256",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_testkit::covers;

    #[test]
    fn every_other_algorithm_is_refused() {
        covers!("R-220");
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
        }
        let others =
            ["", "none", "None", "NONE", "nOnE", "HS256", "ES384", "RS512", "es256", "ES256 ", "EdDSA", "ECDSA"];
        for word in others {
            let error = word.parse::<KeyAlgorithm>().unwrap_err();
            assert_eq!(error.to_string(), "key algorithm must be one of ES256, RS256, PS256", "{word}");
        }
    }
}
