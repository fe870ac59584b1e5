//! stub
use serde_json::Value;
/// The OpenAPI 3.1 document of the public router.
#[must_use]
pub fn document() -> Value { serde_json::json!({}) }
