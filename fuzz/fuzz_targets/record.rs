//! Minutiae records: what is read can be written and read again, and converted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ridgeline_fingerprint::formats::{Record, RecordFamily, RecordFormat};

fuzz_target!(|bytes: &[u8]| {
    for family in [None, Some(RecordFamily::Iso19794), Some(RecordFamily::Ansi378)] {
        let Ok(record) = Record::decode(bytes, family) else { continue };
        let again = record.encode().map(|bytes| Record::decode(&bytes, family));
        assert!(again == Ok(Ok(record.clone())));
        for view in &record.views {
            let _ = view.to_template(record.format);
        }
        for format in RecordFormat::ALL {
            let _ = record.converted(format).and_then(|converted| converted.encode());
        }
    }
});
