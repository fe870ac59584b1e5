//! Everything a caller can do wrong.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use crate::harness::{Site, get, post, sample, stripes, verify};
use crate::scans::multipart;

fn raw(key: &str, kind: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri("/api/v1/scans").header("x-api-key", key);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    request.body(body.into()).unwrap()
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn bodies_that_are_no_request() {
    let site = Site::open().await;
    let key = site.user().await;
    for (kind, body) in
        [(JSON, ""), (None, ""), (JSON, "  \n"), (JSON, "{"), (JSON, "[]"), (JSON, "null"), (JSON, "{}")]
    {
        site.send(raw(&key, kind, body)).await.is_problem(400, "RL-1001");
    }
    let mut declared = raw(&key, Some("application/x-www-form-urlencoded"), "");
    declared.headers_mut().insert("content-length", "0".parse().unwrap());
    site.send(declared).await.is_problem(400, "RL-1001");
    site.send(raw(&key, JSON, vec![0xff; 64])).await.is_problem(400, "RL-1001");
    for kind in [None, Some("text/plain"), Some("application/jsonx"), Some("application/x-www-form-urlencoded")] {
        site.send(raw(&key, kind, "{}")).await.is_problem(415, "RL-1004");
    }
    assert!(site.scans().await.is_empty());
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    ridgeline_testkit::covers!("R-221");
    let site = Site::open().await;
    let key = site.user().await;
    let eleven = vec![b' '; 11_000_000];
    site.send(raw(&key, JSON, eleven.clone())).await.is_problem(413, "RL-1002");
    let pieces = eleven.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
    let chunked = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
    site.send(raw(&key, JSON, chunked)).await.is_problem(413, "RL-1002");
    let mut lying = raw(&key, JSON, "{}");
    lying.headers_mut().insert("content-length", "99999999999".parse().unwrap());
    site.send(lying).await.is_problem(413, "RL-1002");
    site.send(multipart(&key, &[("operation", "identify")], &[&eleven])).await.is_problem(413, "RL-1002");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed() {
    let site = Site::open().await;
    let key = site.user().await;
    let pieces = [Ok(Bytes::from_static(b"{\"operation\":")), Err(std::io::Error::other("gone"))];
    site.send(raw(&key, JSON, Body::from_stream(stream::iter(pieces)))).await.is_problem(400, "RL-1001");
}

fn identify(format: &str, bytes: &[u8], dpi: Option<u16>) -> serde_json::Value {
    let mut sample = json!({ "format": format, "data": STANDARD.encode(bytes) });
    if let Some(dpi) = dpi {
        sample["dpi"] = json!(dpi);
    }
    json!({ "operation": "identify", "samples": [sample] })
}

#[tokio::test]
async fn samples_that_are_no_fingerprint_images() {
    let site = Site::open().await;
    let key = site.user().await;
    let png = stripes();
    type Case<'a> = (&'a str, &'a [u8], Option<u16>, u16, &'a str);
    let cases: [Case<'_>; 14] = [
        ("png", b"hello, world", Some(500), 422, "RL-1101"),
        ("png", b"", Some(500), 422, "RL-1101"),
        ("png", &png[..png.len() / 2], Some(500), 422, "RL-1101"),
        ("jpeg", &png, Some(500), 422, "RL-1101"),
        ("pgm", b"P5 1 1 255\n\x00", Some(500), 422, "RL-1103"),
        ("pgm", b"P5 5000 4000 255\n\x00", Some(500), 422, "RL-1102"),
        ("pgm", b"P5 99999999999999999999 4000 255\n\x00", Some(500), 422, "RL-1101"),
        ("sealed", b"not a template", None, 422, "RL-1105"),
        ("wsq", b"", Some(500), 422, "RL-1101"),
        ("wsq", &png, Some(500), 422, "RL-1101"),
        ("iso19794-2", b"FMR\0 20\0\0\0\0\x20", None, 422, "RL-1101"),
        ("iso19794-2", &png, None, 422, "RL-1101"),
        ("ansi378", b"", None, 422, "RL-1101"),
        ("exe", b"", Some(500), 400, "RL-1001"),
    ];
    for (format, bytes, dpi, status, code) in cases {
        site.post_scan(&key, &identify(format, bytes, dpi)).await.is_problem(status, code);
    }
    let mut without_dpi = b"P5 200 200 255\n".to_vec();
    without_dpi.extend((0..40_000_u32).map(|at| (at % 251) as u8));
    site.post_scan(&key, &identify("pgm", &without_dpi, None)).await.is_problem(422, "RL-1104");
    // 20 megapixels, declared in a file of a few bytes.
    let mut tiny = png[..33].to_vec();
    tiny[16..24].copy_from_slice(&[0, 0, 0x13, 0x88, 0, 0, 0x0f, 0xa0]);
    let refused = site.post_scan(&key, &identify("png", &tiny, Some(500))).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(site.scans().await.is_empty(), "nothing refused was published");
    let second = json!({ "operation": "identify", "samples": [sample(&png), sample(b"x")] });
    assert_eq!(site.post_scan(&key, &second).await.pointers(), ["/samples/1"]);
}

#[tokio::test]
async fn an_all_white_image_is_for_the_matcher_to_judge() {
    let site = Site::open().await;
    let key = site.user().await;
    let mut white = b"P5 200 200 255\n".to_vec();
    white.resize(white.len() + 40_000, 0xff);
    let accepted = site.post_scan(&key, &identify("pgm", &white, Some(500))).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text);
}

#[tokio::test]
async fn fields_out_of_their_range() {
    let site = Site::open().await;
    let key = site.user().await;
    let with = |pointer: &str, value: serde_json::Value| {
        let mut body = verify("alice");
        body[pointer] = value;
        body
    };
    for (name, value, pointer) in [
        ("operation", json!("purge"), "/operation"),
        ("subject_id", json!("a/b"), "/subject_id"),
        ("subject_id", json!("x".repeat(101)), "/subject_id"),
        ("position", json!("thumb"), "/position"),
        ("options", json!({ "threshold_confidence": -1 }), "/options/threshold_confidence"),
        ("options", json!({ "top_k": 0 }), "/options/top_k"),
        ("metadata", json!({ "a": "x".repeat(4096) }), "/metadata"),
        ("samples", json!([]), "/samples"),
        ("nonsense", json!(1), "/nonsense"),
    ] {
        let refused = site.post_scan(&key, &with(name, value)).await;
        refused.is_problem(400, "RL-1001");
        assert_eq!(refused.pointers(), [pointer], "{}", refused.text);
    }
    let fields = [("operation", "verify"), ("subject_id", "a"), ("colour", "red")];
    let refused = site.send(multipart(&key, &fields, &[&stripes()])).await;
    refused.is_problem(400, "RL-1001");
    assert_eq!(refused.pointers(), ["/colour"]);
    for (name, value) in [("dpi", "1201"), ("dpi", "x"), ("options", "{"), ("metadata", "[1]"), ("subject_id", "b")] {
        let fields = [("operation", "verify"), ("subject_id", "a"), (name, value)];
        site.send(multipart(&key, &fields, &[&stripes()])).await.is_problem(400, "RL-1001");
    }
    let eleven: Vec<&[u8]> = vec![b"x"; 11];
    site.send(multipart(&key, &[("operation", "identify")], &eleven)).await.is_problem(400, "RL-1001");
    site.send(raw(&key, Some("multipart/form-data; boundary=b"), "--b\r\nnonsense")).await.is_problem(400, "RL-1001");
    site.send(raw(&key, Some("multipart/form-data"), "--b--")).await.is_problem(400, "RL-1001");
}

#[tokio::test]
async fn credentials_that_are_none() {
    ridgeline_testkit::covers!("R-140");
    let site = Site::open().await;
    let key = site.user().await;
    let mut wrong = key.clone();
    let last = if wrong.pop() == Some('A') { 'B' } else { 'A' };
    wrong.push(last);
    let (short, unknown) = (&key[..key.len() - 1], format!("rl_0000000000000000_{}", "A".repeat(43)));
    for bad in ["", "x", &wrong, short, &unknown, &format!("{key} "), &key.to_uppercase()] {
        let refused = site.post_scan(bad, &verify("alice")).await;
        refused.is_problem(401, "RL-1301");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    let mut twice = post("/api/v1/scans", &key, &verify("alice"));
    twice.headers_mut().append("x-api-key", HeaderValue::from_str(&key).unwrap());
    site.send(twice).await.is_problem(401, "RL-1301");
    let mut binary = get("/api/v1/scans/x", &key);
    binary.headers_mut().insert("x-api-key", HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
    site.send(binary).await.is_problem(401, "RL-1301");
    assert!(site.scans().await.is_empty());
}

#[tokio::test]
async fn paths_methods_and_queries_that_do_not_exist() {
    let site = Site::open().await;
    let key = site.user().await;
    for path in ["/", "/api/v1/scan", "/api/v1/scans/", "/api/v1/scans:batc", "/admin/keys", "/metrics", "/%ff", "//"] {
        site.get(&key, path).await.is_problem(404, "RL-1303");
    }
    for hostile in ["x", "%00", "%ff%fe", "..%2f..", &"a".repeat(5_000), "0123456789ABCDEF0123456789ABCDEF"] {
        site.get(&key, &format!("/api/v1/scans/{hostile}")).await.is_problem(404, "RL-1303");
        site.get(&key, &format!("/api/v1/scans/{hostile}/events")).await.is_problem(404, "RL-1303");
        site.get(&key, &format!("/schemas/ids/{hostile}")).await.is_problem(404, "RL-1303");
    }
    for query in ["wait=31", "wait=x", "wait=-1", "wait", "other=1", "wait=1&wait=2", "%ff"] {
        site.get(&key, &format!("/api/v1/scans/{}?{query}", "0".repeat(32))).await.is_problem(400, "RL-1001");
    }
    let methods = [(Method::DELETE, "/api/v1/scans"), (Method::PUT, "/health"), (Method::POST, "/docs")];
    for (method, path) in methods {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let refused = site.send(request).await;
        refused.is_problem(405, "RL-1304");
        assert!(refused.headers.contains_key("allow"));
    }
}

#[tokio::test]
async fn request_ids_are_the_callers_if_valid_and_headers_are_on_every_answer() {
    ridgeline_testkit::covers!("R-267");
    let site = Site::open().await;
    let with_id = |id: &str| {
        let request = Request::builder().uri("/nowhere").header("x-request-id", id);
        request.body(Body::empty()).unwrap()
    };
    let kept = site.send(with_id("caller-7/x")).await;
    assert_eq!(kept.headers["x-request-id"], "caller-7/x");
    for bad in ["a b", "", &"x".repeat(129), "tab\there"] {
        let fresh = site.send(with_id(bad)).await;
        let id = fresh.headers["x-request-id"].to_str().unwrap();
        assert_eq!((id.len(), id != bad), (32, true));
    }
    for path in ["/nowhere", "/health", "/health/live"] {
        let answer = site.get("", path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert!(answer.headers.contains_key("x-xss-protection"));
        assert!(answer.headers.contains_key("content-security-policy"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}
