//! Public error codes: one closed enum; each has a page `docs/errors/<code>.md`.

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, in the one spelling that callers, operators and dead letters see.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($(#[$meta])* $variant,)+ }

        impl ErrorCode {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code itself, for instance `RL-1001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $code,)+ } }

            /// One line for people; never names anything internal.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)+ } }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn http_status(self) -> u16 { match self { $(Self::$variant => $status,)+ } }
        }

        impl std::str::FromStr for ErrorCode {
            type Err = crate::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(crate::UnknownWord { what: "error code", expected: "the codes of docs/errors".to_owned() }),
                }
            }
        }
    };
}

codes! {
    /// The request is not what the interface describes.
    MalformedRequest = "RL-1001", 400, "The request is malformed";
    /// The body is larger than the limit of its route.
    BodyTooLarge = "RL-1002", 413, "The request body is too large";
    /// The sealed record would not fit into a message.
    SealedTooLarge = "RL-1003", 413, "The samples are too large together";
    /// The media type is not one the route reads.
    UnsupportedMediaType = "RL-1004", 415, "The content type is not supported";
    /// The sample is no image of the declared format, or is cut short.
    UndecodableSample = "RL-1101", 422, "A sample cannot be decoded";
    /// More pixels than the limit.
    ImageTooLarge = "RL-1102", 422, "An image has too many pixels";
    /// Too few pixels to hold a fingerprint.
    ImageTooSmall = "RL-1103", 422, "An image is too small";
    /// The resolution is neither declared nor in the file, or outside 250–1200 dpi.
    ResolutionUnknown = "RL-1104", 422, "An image has no usable resolution";
    /// A sealed template that is no sealed template.
    TemplateUndecodable = "RL-1105", 422, "A sealed template cannot be decoded";
    /// Part of the interface that this version does not have.
    NotImplemented = "RL-1201", 501, "This part of the interface is not available";
    /// Another request was sent under the same Idempotency-Key.
    IdempotencyConflict = "RL-1202", 409, "The Idempotency-Key belongs to another request";
    /// No credential, or one that is not valid.
    Unauthenticated = "RL-1301", 401, "A valid API key is required";
    /// The credential does not allow this.
    Forbidden = "RL-1302", 403, "The API key does not allow this";
    /// Not there, or not yours.
    NotFound = "RL-1303", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "RL-1304", 405, "The method is not allowed here";
    /// A token, challenge, signature or password that is not valid, or no longer: one code for all.
    CredentialRefused = "RL-1401", 401, "The credential is not valid";
    /// The public key of a device is none that may be registered.
    DeviceKeyRefused = "RL-1402", 422, "The public key cannot be registered";
    /// The public key is registered for another installation.
    DeviceKeyInUse = "RL-1403", 422, "The public key is registered already";
    /// The user has as many devices as allowed.
    TooManyDevices = "RL-1404", 422, "Too many devices";
    /// Too many attempts by this user or from this address.
    RateLimited = "RL-1405", 429, "Too many requests";
    /// The caller may see the action, but not do this.
    NotAnApprover = "RL-1406", 403, "This caller may not do this to the action";
    /// The action is decided, over or redeemed already.
    ActionFinal = "RL-1407", 409, "The action is final";
    /// The user has as many actions waiting as allowed.
    TooManyPending = "RL-1408", 429, "Too many actions wait for approval";
    /// Too few people could approve the action.
    ApproversMissing = "RL-1409", 422, "Too few approvers";
    /// The approval policy has no rule for the action.
    ActionNotCovered = "RL-1410", 422, "No rule covers the action";
    /// The code that the initiating client shows was typed wrongly.
    DisplayCodeWrong = "RL-1411", 422, "The display code is wrong";
    /// The record is no Avro record of the topic.
    RecordUndecodable = "RL-3001", 422, "The record cannot be decoded";
    /// The schema id in front of the record is unknown.
    SchemaUnknown = "RL-3002", 422, "The record names an unknown schema";
    /// The agent's signature is missing or wrong.
    SignatureInvalid = "RL-3003", 422, "The record's signature is not valid";
    /// The agent is not registered.
    AgentUnknown = "RL-3004", 422, "The record's agent is not registered";
    /// The agent may not ask for this operation.
    OperationNotGranted = "RL-3005", 422, "The agent may not ask for this operation";
    /// The samples are sealed to another key, or to another record.
    CannotBeOpened = "RL-3006", 422, "The record's samples cannot be opened";
    /// The record is larger than a message may be.
    RecordTooLarge = "RL-3007", 413, "The record is too large";
    /// The record's fields contradict each other or the rules.
    RecordInvalid = "RL-3008", 422, "The record is not valid";
    /// A fault on our side.
    Internal = "RL-5001", 500, "Internal error";
    /// Log or store cannot be reached, or the service is full; try again.
    Unavailable = "RL-5002", 503, "The service is temporarily unavailable";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ascending_and_parse_back() {
        let texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        let mut sorted = texts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(texts, sorted);
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse::<ErrorCode>().as_ref(), Ok(code));
        }
    }
}
