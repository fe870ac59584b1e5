//! Calls to servers of this machine, under names that a scripted resolver knows.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
const SECRET: &str = "s3cr3t";
/// Given back by its users and not given out again: counts as public, and nobody is there.
const NOBODY: &str = "3ffe::1";

/// Answers the n-th question with the n-th list, and every later one with the last.
struct Script {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Script {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let list = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self { answers: answers.iter().map(list).collect(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let found: Vec<SocketAddr> = self.answers[turn].iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

fn options(allow_private: bool) -> UntrustedOptions {
    UntrustedOptions { allow_private, timeout: Duration::from_secs(20), ..UntrustedOptions::default() }
}

fn client(options: UntrustedOptions, script: &Arc<Script>) -> Untrusted {
    let resolver: Arc<dyn Resolve> = script.clone();
    Untrusted::with_resolver(options, resolver).unwrap()
}

fn inside() -> Arc<Script> {
    Script::new(&[&["127.0.0.1"]])
}

async fn post(client: &Untrusted, url: &str) -> Result<Answer, EgressError> {
    let url = if client.allow_private { CallbackUrl::parse_private(url) } else { CallbackUrl::parse(url) }.unwrap();
    let answer = client.post(&url, &[("x-signature", SECRET.to_owned())], ("application/json", b"{}".to_vec())).await;
    if let Err(error) = &answer {
        let mut told = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(next) = cause {
            told.push_str(&format!(" {next} {next:?}"));
            cause = next.source();
        }
        assert!(!told.contains(SECRET), "{told}");
    }
    answer
}

/// Reads one request, whose body is the two bytes of `post`.
fn request(socket: &mut impl Read) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n{}") && socket.read(&mut byte).unwrap_or(0) == 1 {
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Answers one call and gives back what it was sent.
fn server(ip: &str, answer: Vec<u8>) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let seen = request(&mut socket);
        // The client may have enough before all is sent.
        let _ = socket.write_all(&answer);
        seen
    });
    (port, thread)
}

fn is_untouched(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    matches!(listener.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn a_call_carries_headers_and_body_to_the_address_that_was_judged() {
    let (port, seen) = server("127.0.0.1", OK.into());
    let script = inside();
    let answer = post(&client(options(true), &script), &format!("http://hook.example:{port}/a?b=c")).await.unwrap();
    assert_eq!(answer, Answer { status: 200, body: b"fine".to_vec(), retry_after: None });
    assert_eq!(script.asked(), 1);
    let seen = seen.join().unwrap();
    assert!(seen.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{seen}");
    for line in [
        format!("host: hook.example:{port}\r\n"),
        format!("x-signature: {SECRET}\r\n"),
        "content-type: application/json\r\n".to_owned(),
    ] {
        assert!(seen.contains(&line), "{seen}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_resolved_once_for_a_call() {
    let (port, seen) = server("127.0.0.1", OK.into());
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let script = Script::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    assert!(post(&client(options(true), &script), &format!("http://hook.example:{port}/")).await.is_ok());
    assert_eq!(script.asked(), 1);
    assert!(seen.join().unwrap().starts_with("POST /"));
    assert!(is_untouched(&other));
}

#[tokio::test]
async fn a_name_that_turns_inside_after_it_was_public_reaches_nothing() {
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://hook.example:{}/{SECRET}?k={SECRET}", local.local_addr().unwrap().port());
    let script = Script::new(&[&[NOBODY], &["127.0.0.1"]]);
    let client = client(UntrustedOptions { timeout: Duration::from_millis(300), ..options(false) }, &script);
    let first = post(&client, &url).await;
    assert!(matches!(first, Err(EgressError::Unreachable { .. })), "{first:?}");
    assert_eq!(script.asked(), 1);
    let second = post(&client, &url).await;
    assert!(matches!(second, Err(EgressError::ForbiddenAddress { .. })), "{second:?}");
    assert_eq!(script.asked(), 2);
    assert!(is_untouched(&local));
}

#[tokio::test]
async fn one_address_that_must_not_be_called_refuses_the_call() {
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://hook.example:{}/{SECRET}", local.local_addr().unwrap().port());
    let lists: [&[&str]; 7] = [
        &["127.0.0.1"],
        &[NOBODY, "127.0.0.1"],
        &["127.0.0.1", NOBODY],
        &[NOBODY, "::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["169.254.169.254"],
    ];
    for list in lists {
        let answer = post(&client(options(false), &Script::new(&[list])), &url).await;
        assert!(matches!(&answer, Err(EgressError::ForbiddenAddress { host }) if host == "hook.example"), "{answer:?}");
    }
    let closed = client(options(true), &Script::new(&[&["127.0.0.1", "169.254.169.254"]]));
    assert!(matches!(post(&closed, &url).await, Err(EgressError::ForbiddenAddress { .. })));
    assert!(matches!(
        post(&client(options(true), &Script::new(&[&[]])), &url).await,
        Err(EgressError::Unreachable { .. })
    ));
    assert!(is_untouched(&local));
}

#[tokio::test]
async fn a_url_for_a_closed_network_is_refused_by_a_client_for_the_open_one() {
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = local.local_addr().unwrap().port();
    let strict = Untrusted::new(options(false)).unwrap();
    let call = async |url: &str| {
        strict.post(&CallbackUrl::parse_private(url).unwrap(), &[], ("text/plain", Vec::new())).await.unwrap_err()
    };
    let plain = call(&format!("http://hook.example:{port}/")).await;
    assert!(matches!(plain, EgressError::BadCallback(_)), "{plain:?}");
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"] {
        let error = call(&format!("https://{host}:{port}/")).await;
        assert!(matches!(error, EgressError::ForbiddenAddress { .. }), "{host}: {error:?}");
    }
    assert!(is_untouched(&local));
}

#[tokio::test]
async fn the_system_resolver_finds_this_machine_by_its_name() {
    let (port, seen) = server("127.0.0.1", OK.into());
    let system = Untrusted::new(options(true)).unwrap();
    assert_eq!(post(&system, &format!("http://localhost:{port}/")).await.unwrap().status, 200);
    assert!(seen.join().unwrap().starts_with("POST /"));
    let (port, seen) = server("127.0.0.1", OK.into());
    assert_eq!(post(&system, &format!("http://127.0.0.1:{port}/")).await.unwrap().status, 200, "needs no resolver");
    assert!(seen.join().unwrap().starts_with("POST /"));
}

#[tokio::test]
async fn a_redirection_is_an_answer() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = elsewhere.local_addr().unwrap();
    for status in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n");
        let (port, _seen) = server("127.0.0.1", head.into());
        let answer = post(&client(options(true), &inside()), &format!("http://hook.example:{port}/")).await.unwrap();
        assert_eq!(answer.status, status);
    }
    assert!(is_untouched(&elsewhere));
}

#[tokio::test]
async fn an_answer_is_cut_off_at_its_limit() {
    let limit = UntrustedOptions { answer_bytes_max: 10, ..options(true) };
    let long = |length: usize, claimed: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {claimed}\r\n\r\n").into_bytes();
        answer.extend(std::iter::repeat_n(b'x', length));
        answer
    };
    for (sent, claimed, kept) in [(9, 9, 9), (10, 10, 10), (11, 11, 10), (1 << 20, 1 << 20, 10), (64, 1 << 50, 10)] {
        let (port, _seen) = server("127.0.0.1", long(sent, claimed));
        let answer =
            post(&client(limit.clone(), &inside()), &format!("http://hook.example:{port}/")).await.expect("an answer");
        assert_eq!(answer, Answer { status: 200, body: vec![b'x'; kept], retry_after: None }, "{sent} of {claimed}");
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\nxxxxxxxx\r\n8\r\nxxxxxxxx\r\n";
    let (port, _seen) = server("127.0.0.1", chunked.into());
    let answer = post(&client(limit, &inside()), &format!("http://hook.example:{port}/")).await.unwrap();
    assert_eq!(answer.body, vec![b'x'; 10]);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let mut bad: Vec<Vec<u8>> = (0..OK.len()).map(|end| OK.as_bytes()[..end].to_vec()).collect();
    bad.push(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec());
    bad.push(vec![0xff; 4096]);
    bad.push(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec());
    bad.push(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nfine".to_vec());
    bad.push(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec());
    bad.push(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx".to_vec());
    let mut headers = b"HTTP/1.1 200 OK\r\n".to_vec();
    headers.extend(b"x-filler: 0123456789abcdef0123456789abcdef\r\n".repeat(1 << 15));
    bad.push(headers);
    let mut header = b"HTTP/1.1 200 OK\r\nx-filler: ".to_vec();
    header.extend(b"x".repeat(1 << 21));
    bad.push(header);
    let client = client(options(true), &inside());
    for answer in bad {
        let start = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
        let (port, _seen) = server("127.0.0.1", answer);
        let answer = post(&client, &format!("http://hook.example:{port}/{SECRET}")).await;
        assert!(matches!(answer, Err(EgressError::Unreachable { .. })), "{start:?}: {answer:?}");
    }
}

/// A server that sends a byte at a time is as slow as one that sends nothing: the time is for the whole call.
#[tokio::test]
async fn the_time_of_a_call_is_for_all_of_it() {
    let short = UntrustedOptions { timeout: Duration::from_millis(200), ..options(true) };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dripping = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [silent.local_addr().unwrap().port(), dripping.local_addr().unwrap().port()];
    std::thread::spawn(move || {
        let (mut socket, _) = dripping.accept().unwrap();
        request(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n");
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for port in ports {
        let call = post(&client(short.clone(), &inside()), &format!("http://hook.example:{port}/")).await;
        let Err(EgressError::Unreachable { source, address }) = call else { panic!("{call:?}") };
        assert!(source.is_timeout(), "{source:?}");
        assert_eq!(address, format!("http://hook.example:{port}"));
    }
}

/// Slow name servers of callers take no more threads than they may.
#[tokio::test]
async fn a_lookup_waits_for_its_turn_within_the_time_of_the_call() {
    let lookups = Arc::new(Semaphore::new(1));
    let client = |timeout| {
        let resolver = Arc::new(System { lookups: Arc::clone(&lookups) });
        Untrusted::with_resolver(UntrustedOptions { timeout, ..options(true) }, resolver).unwrap()
    };
    let (port, seen) = server("127.0.0.1", OK.into());
    let url = format!("http://localhost:{port}/");
    let held = lookups.acquire().await.unwrap();
    let waited = post(&client(Duration::from_millis(200)), &url).await;
    assert!(matches!(&waited, Err(EgressError::Unreachable { source, .. }) if source.is_timeout()), "{waited:?}");
    drop(held);
    assert_eq!(post(&client(Duration::from_secs(20)), &url).await.unwrap().status, 200);
    assert!(seen.join().unwrap().starts_with("POST /"));
    assert_eq!(lookups.available_permits(), 1);
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_named_and_not_shown() {
    let client = client(options(true), &inside());
    let url = CallbackUrl::parse("https://hook.example/").unwrap();
    let value = format!("{SECRET}\r\nx-injected: 1");
    for (headers, kind, named) in [
        (vec![("x-signature", value)], "text/plain", "x-signature"),
        (vec![("x y", "1".to_owned())], "text/plain", "x y"),
        (vec![], "text/plain\n", "content-type"),
    ] {
        let error = client.post(&url, &headers, (kind, Vec::new())).await.unwrap_err();
        assert!(matches!(error, EgressError::BadHeader(name) if name == named), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(SECRET));
    }
}

/// A self-signed certificate for `name`.
fn certificate(name: &str) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns(name).build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// Answers each call over TLS for as long as calls come; a call that breaks off is let go.
fn tls_server(certificate: &X509, key: &PKey<Private>) -> u16 {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(certificate).unwrap();
    acceptor.set_private_key(key).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move |socket: TcpStream| {
        if let Ok(mut stream) = acceptor.accept(socket) {
            let seen = request(&mut stream);
            assert!(seen.starts_with("POST /"), "{seen}");
            let _ = stream.write_all(OK.as_bytes());
        }
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    port
}

#[tokio::test]
async fn the_certificate_must_be_believed_and_for_the_name() {
    let (certificate, key) = certificate("hook.example");
    let port = tls_server(&certificate, &key);
    let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
    let known = client(UntrustedOptions { authority: Some(pem), ..options(true) }, &inside());
    let unknown = client(options(true), &inside());
    let (right, wrong) = (format!("https://hook.example:{port}/"), format!("https://other.example:{port}/"));
    assert_eq!(post(&known, &right).await.unwrap(), Answer { status: 200, body: b"fine".to_vec(), retry_after: None });
    for (client, url) in [(&known, &wrong), (&unknown, &right)] {
        let answer = post(client, url).await;
        assert!(matches!(answer, Err(EgressError::Unreachable { .. })), "{answer:?}");
    }
    let bad = UntrustedOptions { authority: Some("nonsense".to_owned()), ..options(true) };
    assert!(matches!(Untrusted::new(bad), Err(EgressError::BadCertificate(_))));
}

/// The environment is that of a process, so the call is made in a process of its own.
#[tokio::test]
async fn proxies_of_the_environment_are_not_taken() {
    const NAME: &str = "untrusted::tests::proxies_of_the_environment_are_not_taken";
    const PROXIES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    const INSIDE: &str = "RIDGELINE_TEST_PROXIED";
    if std::env::var_os(INSIDE).is_some() {
        let (port, _seen) = server("127.0.0.1", OK.into());
        let url = format!("http://hook.example:{port}/");
        assert_eq!(post(&client(options(true), &inside()), &url).await.unwrap().status, 200);
        return;
    }
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME]).env(INSIDE, "1").env_remove("NO_PROXY").env_remove("no_proxy");
    for name in PROXIES {
        command.env(name, format!("http://{}", proxy.local_addr().unwrap()));
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert!(is_untouched(&proxy));
}
