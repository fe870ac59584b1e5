//! Exchanges with an address of the configuration.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, RequestBuilder, Url};
use ridgeline_domain::Sensitive;

use crate::EgressError;

/// Ends a certificate in PEM.
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Where to and how.
#[derive(Clone)]
pub struct ConfiguredOptions {
    /// `http://` or `https://`, host, and what stands before every path.
    pub base_url: String,
    /// Certificates (PEM) that the other side is believed by; `None`: the system's.
    pub authority: Option<String>,
    /// Sent with every request.
    pub login: Option<Login>,
    /// What answers should be, as `Accept`.
    pub accept: &'static str,
    /// From the first attempt to connect to the last byte of the answer. Default 5 s.
    pub timeout: Duration,
    /// Largest answer. Default 1 MiB.
    pub answer_bytes_max: usize,
}

/// A user and a password (RFC 7617).
#[derive(Clone)]
pub struct Login {
    /// Name.
    pub username: String,
    /// Password.
    pub password: Sensitive<String>,
}

impl ConfiguredOptions {
    /// Defaults for a service at `base_url`.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            authority: None,
            login: None,
            accept: "*/*",
            timeout: Duration::from_secs(5),
            answer_bytes_max: 1 << 20,
        }
    }
}

impl fmt::Debug for ConfiguredOptions {
    /// Without the address, which has not been checked for a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredOptions").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Make or ask.
    Post,
    /// Set.
    Put,
    /// Remove.
    Delete,
}

/// What came back, whatever its status. A redirection comes back as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body: whole and within the limit from [`Configured`], cut off at it from [`Untrusted`](crate::Untrusted).
    pub body: Vec<u8>,
    /// `Retry-After` as it was sent, if it is text: seconds or a date (RFC 9110, 10.2.3).
    pub retry_after: Option<String>,
}

/// A client of one address. Clones share its connections.
#[derive(Clone)]
pub struct Configured {
    http: reqwest::Client,
    base: String,
    answer_bytes_max: usize,
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Configured").field(&self.base).finish()
    }
}

impl Configured {
    /// A client; connects with the first request. Proxies of the environment are used, except for loopback addresses.
    ///
    /// # Errors
    /// `BadAddress`, `BadLogin`, `BadCertificate`, `Setup`.
    pub fn new(options: ConfiguredOptions) -> Result<Self, EgressError> {
        let base = address(&options.base_url)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(options.accept));
        if let Some(login) = &options.login {
            headers.insert(AUTHORIZATION, authorization(login)?);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ridgeline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.timeout)
            .default_headers(headers);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if let Some(pem) = &options.authority {
            builder = builder.tls_built_in_root_certs(false);
            for certificate in certificates(pem)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(EgressError::Setup)?;
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, answer_bytes_max: options.answer_bytes_max })
    }

    /// The configured address, without a slash at the end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Whether nobody on the way reads what is sent: TLS, or the other side is this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        Url::parse(&self.base).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url))
    }

    /// One exchange, without repetition. `path` is empty or begins with a slash, and is made of our own words and checked names;
    /// `body` is a media type and bytes.
    ///
    /// # Errors
    /// `Unreachable`, `TooLarge`. A refusal is an [`Answer`].
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Answer, EgressError> {
        self.answer(self.request(method, path, body)).await
    }

    /// As [`Self::exchange`], with a token (RFC 6750) instead of a login.
    ///
    /// # Errors
    /// `BadLogin` for a token that no header carries, and those of `exchange`.
    pub async fn exchange_with_token(
        &self,
        token: &Sensitive<String>,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Answer, EgressError> {
        let text = Sensitive::new(format!("Bearer {}", token.expose()));
        self.answer(self.request(method, path, body).header(AUTHORIZATION, secret(&text)?)).await
    }

    fn request(&self, method: Method, path: &str, body: Option<(&'static str, Vec<u8>)>) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let mut request = match method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
            Method::Delete => self.http.delete(url),
        };
        if let Some((kind, bytes)) = body {
            request = request.header(CONTENT_TYPE, kind).body(bytes);
        }
        request
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, EgressError> {
        let unreachable = |source: reqwest::Error| EgressError::Unreachable {
            address: self.base.clone(),
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(EgressError::TooLarge { address: self.base.clone(), max: self.answer_bytes_max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body, retry_after })
    }
}

/// `Retry-After`, if it is text.
pub(crate) fn retry_after(response: &reqwest::Response) -> Option<String> {
    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn address(text: &str) -> Result<Url, EgressError> {
    let url = Url::parse(text).map_err(|_| EgressError::BadAddress)?;
    let web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if web && bare { Ok(url) } else { Err(EgressError::BadAddress) }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A colon in the name would move characters of the password into it.
fn authorization(login: &Login) -> Result<HeaderValue, EgressError> {
    let pair = Sensitive::new(format!("{}:{}", login.username, login.password.expose()));
    if login.username.contains(':') || pair.expose().chars().any(char::is_control) {
        return Err(EgressError::BadLogin);
    }
    let text = Sensitive::new(format!("Basic {}", STANDARD.encode(pair.expose())));
    secret(&text)
}

fn secret(text: &Sensitive<String>) -> Result<HeaderValue, EgressError> {
    let mut value = HeaderValue::from_str(text.expose()).map_err(|_| EgressError::BadLogin)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Each certificate of a file, which may hold several.
pub(crate) fn certificates(pem: &str) -> Result<Vec<Certificate>, EgressError> {
    let parts: Vec<&str> = pem.split_inclusive(PEM_END).filter(|part| part.ends_with(PEM_END)).collect();
    if parts.is_empty() {
        return Err(EgressError::BadCertificate(None));
    }
    let read =
        |part: &&str| Certificate::from_pem(part.as_bytes()).map_err(|error| EgressError::BadCertificate(Some(error)));
    parts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one request with these bytes and gives back what it was sent.
    fn server(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut seen = [0; 4096];
            let length = socket.read(&mut seen).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&seen[..length]).into_owned()
        });
        (url, thread)
    }

    #[tokio::test]
    async fn a_request_carries_the_login_and_the_path_and_any_status_is_an_answer() {
        let (url, seen) = server("HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno");
        let mut options = ConfiguredOptions::new(url);
        options.login = Some(Login { username: "me".to_owned(), password: Sensitive::new("päss".to_owned()) });
        let client = Configured::new(options).unwrap();
        assert!(client.address().ends_with("/base"));
        let answer = client.exchange(Method::Put, "/x", Some(("application/json", b"{}".to_vec()))).await.unwrap();
        assert_eq!(answer, Answer { status: 409, body: b"no".to_vec(), retry_after: None });
        let seen = seen.join().unwrap();
        assert!(seen.starts_with("PUT /base/x HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("authorization: Basic bWU6cMOkc3M=\r\n"), "{seen}");
        assert!(seen.contains("content-type: application/json\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn a_token_replaces_the_login_and_the_time_to_wait_comes_back() {
        let (url, seen) = server("HTTP/1.1 429 Too Many Requests\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n");
        let mut options = ConfiguredOptions::new(url);
        options.login = Some(Login { username: "me".to_owned(), password: Sensitive::new("secret".to_owned()) });
        let client = Configured::new(options).unwrap();
        let token = Sensitive::new("abc.def".to_owned());
        let answer = client.exchange_with_token(&token, Method::Post, "", None).await.unwrap();
        assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("17")));
        let seen = seen.join().unwrap();
        assert!(seen.starts_with("POST /base HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("authorization: Bearer abc.def\r\n") && !seen.contains("Basic"), "{seen}");

        let bad = Sensitive::new("abc\nsecret".to_owned());
        let error = client.exchange_with_token(&bad, Method::Post, "", None).await.unwrap_err();
        assert!(matches!(error, EgressError::BadLogin) && !format!("{error:?}").contains("secret"));
    }

    #[test]
    fn plain_http_is_private_on_this_machine_only() {
        for (url, private) in [
            ("https://h.example", true),
            ("http://127.0.0.1:8/x", true),
            ("http://[::1]:8", true),
            ("http://localhost", true),
            ("http://h.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(Configured::new(ConfiguredOptions::new(url)).unwrap().is_private(), private, "{url}");
        }
    }

    #[tokio::test]
    async fn a_redirection_leads_nowhere() {
        let (url, _seen) = server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        let client = Configured::new(ConfiguredOptions::new(url)).unwrap();
        assert_eq!(client.exchange(Method::Get, "/x", None).await.unwrap().status, 302);
    }

    #[tokio::test]
    async fn a_long_answer_and_a_silent_server_end_in_an_error() {
        let (url, _seen) = server("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n01234567890123456789");
        let mut options = ConfiguredOptions::new(url);
        options.answer_bytes_max = 10;
        let long = Configured::new(options).unwrap().exchange(Method::Get, "/x", None).await;
        assert!(matches!(long, Err(EgressError::TooLarge { max: 10, .. })), "{long:?}");

        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut options = ConfiguredOptions::new(format!("http://{}", silent.local_addr().unwrap()));
        options.timeout = Duration::from_millis(100);
        let silence = Configured::new(options).unwrap().exchange(Method::Get, "/x", None).await;
        assert!(matches!(silence, Err(EgressError::Unreachable { .. })), "{silence:?}");
    }

    #[test]
    fn addresses_with_more_than_an_address_are_refused_and_not_repeated() {
        for bad in [
            "registry:8081",
            "ftp://h/",
            "http://me:secret@h/",
            "http://h/?k=secret",
            "http://h/#secret",
            "",
            "http://",
        ] {
            let error = Configured::new(ConfiguredOptions::new(bad)).unwrap_err();
            assert!(matches!(error, EgressError::BadAddress), "{bad}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("secret"));
        }
        assert!(Configured::new(ConfiguredOptions::new("https://registry.example:8443/apis/ccompat/v7")).is_ok());
    }

    #[test]
    fn what_cannot_be_a_login_or_a_certificate_is_refused() {
        for (username, password) in [("a:b", "c"), ("a", "c\nd")] {
            let mut options = ConfiguredOptions::new("http://h/");
            options.login =
                Some(Login { username: username.to_owned(), password: Sensitive::new(password.to_owned()) });
            assert!(matches!(Configured::new(options), Err(EgressError::BadLogin)));
        }
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let mut options = ConfiguredOptions::new("https://h/");
            options.authority = Some(pem.to_owned());
            assert!(Configured::new(options).is_err(), "{pem:?}");
        }
    }
}
