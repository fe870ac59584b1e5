use ridgeline_domain::{Operation, Outcome};

use super::*;
use crate::testing::{Server, answer};
use crate::{PublicStream, Sample};

fn client(server: &Server) -> Client {
    Client::new(ClientOptions::new(&server.url, Some(Sensitive::new("rl_secret".to_owned())))).unwrap()
}

fn scan() -> Scan {
    Scan::new(Operation::Verify, Some("alice".parse().unwrap()), vec![Sample::image("png", b"x", Some(500))])
}

const DECISION: &str = r#"{"confirmation_id":"0a","operation":"verify","outcome":"match"}"#;
const BUSY: &str = r#"{"type":"x","title":"Busy","status":503,"code":"RL-5002","detail":"full","request_id":"r1"}"#;

#[tokio::test]
async fn a_decision_in_time_comes_with_the_submission() {
    let server = Server::answering(vec![answer("200 OK", "", DECISION)]).await;
    let key = IdempotencyKey::new("k-1").unwrap();
    let submitted = client(&server).submit(&scan(), Some(Duration::from_secs(60)), Some(&key)).await.unwrap();
    assert!(matches!(submitted, Submitted::Decided(decision) if decision.outcome == Outcome::Match));
    let seen = server.seen.lock().unwrap()[0].to_lowercase();
    for part in ["post /api/v1/scans http", "x-api-key: rl_secret", "prefer: wait=30", "idempotency-key: k-1"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
}

#[tokio::test]
async fn an_accepted_request_is_asked_for_until_it_is_decided() {
    let accepted = r#"{"confirmation_id":"0a","status":"accepted","status_url":"/api/v1/scans/0a"}"#;
    let decided = format!(r#"{{"confirmation_id":"0a","status":"decided","decision":{DECISION}}}"#);
    let answers =
        vec![answer("202 Accepted", "", accepted), answer("200 OK", "", accepted), answer("200 OK", "", &decided)];
    let server = Server::answering(answers).await;
    let decision = client(&server).decide(&scan(), None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(decision.outcome, Outcome::Match);
    assert!(server.seen.lock().unwrap()[1].starts_with("GET /api/v1/scans/0a?wait="));
}

#[tokio::test]
async fn only_what_may_be_repeated_is_repeated() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", BUSY);
    let server = Server::answering(vec![busy.clone(), busy.clone(), answer("200 OK", "", DECISION)]).await;
    let key = IdempotencyKey::new("k").unwrap();
    assert!(client(&server).submit(&scan(), None, Some(&key)).await.is_ok());
    assert_eq!(server.seen.lock().unwrap().len(), 3);

    let server = Server::answering(vec![busy, answer("200 OK", "", DECISION)]).await;
    let error = client(&server).submit(&scan(), None, None).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.code.as_str(), problem.request_id.as_str(), problem.status), ("RL-5002", "r1", 503));
    assert_eq!(server.seen.lock().unwrap().len(), 1, "a submission without a key is sent once");
}

#[tokio::test]
async fn who_is_told_to_wait_long_is_told_so_and_asks_no_more() {
    let body = r#"{"message":"Too many requests","statusCode":429,"code":"RL-1405","requestId":"r2"}"#;
    let limited = |seconds: u32| answer("429 Too Many Requests", &format!("retry-after: {seconds}\r\n"), body);
    let server = Server::answering(vec![limited(0), limited(60)]).await;
    let error = client(&server).status("0a", Duration::ZERO).await.unwrap_err();
    assert_eq!(error.problem().unwrap().retry_after, Some(Duration::from_secs(60)));
    assert_eq!(error.to_string(), "RL-1405 (HTTP 429): Too many requests [request r2]");
    assert_eq!(server.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn refusals_keep_their_code_and_say_it() {
    let body = r#"{"type":"x","title":"A sample cannot be decoded","status":422,"code":"RL-1101","detail":"png is cut short","request_id":"abc"}"#;
    let server = Server::answering(vec![answer("422 Unprocessable Entity", "", body)]).await;
    let error = client(&server).submit(&scan(), None, None).await.unwrap_err();
    assert_eq!(error.to_string(), "RL-1101: A sample cannot be decoded (HTTP 422): png is cut short [request abc]");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let body = "x".repeat(2_000);
    let server = Server::answering(vec![answer("200 OK", "", &body)]).await;
    let mut options = ClientOptions::new(&server.url, None);
    options.answer_bytes_max = 1_000;
    let error = Client::new(options).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { max: 1_000 }), "{error}");
}

#[tokio::test]
async fn streams_deliver_events_until_they_end() {
    let body = ": hello\n\nevent: audit\ndata: {\"n\":1}\n\ndata: {\"n\":2}\n\n";
    let server = Server::answering(vec![answer("200 OK", "content-type: text/event-stream\r\n", body)]).await;
    let mut stream = client(&server).tail(PublicStream::Audit, true).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().name, "audit");
    assert_eq!(stream.next().await.unwrap().unwrap().data, "{\"n\":2}");
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn nobody_there_is_said_without_ids_or_keys() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut options = ClientOptions::new(&url, Some(Sensitive::new("rl_secret".to_owned())));
    options.attempts_max = 1;
    let client = Client::new(options).unwrap();
    let error = client.status("0123456789abcdef", Duration::ZERO).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&url));
    let chain = format!("{error:?}");
    assert!(!chain.contains("0123456789abcdef") && !chain.contains("rl_secret"), "{chain}");
}

#[test]
fn addresses_and_keys_are_checked_before_anything_is_sent() {
    for bad in ["", "localhost:8080", "ftp://x", "http://"] {
        assert!(Client::new(ClientOptions::new(bad, None)).is_err(), "{bad:?}");
    }
    assert!(IdempotencyKey::new("").is_none() && IdempotencyKey::new("ä").is_none());
    assert!(IdempotencyKey::new(&"x".repeat(256)).is_none());
    let bad_key = ClientOptions::new("http://localhost", Some(Sensitive::new("a\nb".to_owned())));
    assert!(matches!(Client::new(bad_key), Err(ClientError::BadApiKey)));
}
