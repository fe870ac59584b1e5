//! One exchange with the service: sent again while that is harmless and promising, its answer size-capped.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::{ClientError, ClientOptions, EventStream, Problem};

/// The service waits no longer for a decision in one request.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// First pause before a request is sent again; doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause, also where a busy service asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Headers that are good for one attempt only.
type Fresh<'a> = Box<dyn Fn() -> Result<HeaderMap, ClientError> + Send + Sync + 'a>;

/// One exchange to be made.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Made anew for each attempt.
    pub(crate) fresh: Option<Fresh<'a>>,
    pub(crate) body: Option<(HeaderValue, Vec<u8>)>,
    /// How long the service was asked to wait.
    pub(crate) wait: Duration,
    /// Time for the exchange beyond that, where it differs from the client's.
    pub(crate) timeout: Option<Duration>,
    /// Whether sending it twice means the same as once.
    pub(crate) repeatable: bool,
}

impl Call<'_> {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let repeatable = method == Method::GET;
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            fresh: None,
            body: None,
            wait: Duration::ZERO,
            timeout: None,
            repeatable,
        }
    }
}

/// Connections to one service. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    base: Url,
    options: ClientOptions,
}

impl Transport {
    /// Connects with the first call. Proxies of the environment are not used for loopback addresses.
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let base = base(&options.base_url)?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &options.api_key {
            let mut value = HeaderValue::from_str(key.expose()).map_err(|_| ClientError::BadApiKey)?;
            value.set_sensitive(true);
            headers.insert("x-api-key", value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ridgeline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .default_headers(headers);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build().map_err(ClientError::Setup)?, base, options })
    }

    /// The address of the service as the options have it.
    pub(crate) fn base_url(&self) -> &str {
        &self.options.base_url
    }

    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        what: &'static str,
    ) -> Result<T, ClientError> {
        let (_, bytes) = self.exchange(call).await?;
        serde_json::from_slice(&bytes).map_err(|_| ClientError::Unexpected { what })
    }

    /// Makes the exchange, again and again while that is harmless and promising.
    pub(crate) async fn exchange(&self, call: &Call<'_>) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut pause = PAUSE_FIRST;
        for _ in 1..self.options.attempts_max {
            let error = match self.exchange_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !call.repeatable || !error.is_transient() {
                return Err(error);
            }
            let asked = error.problem().and_then(|problem| problem.retry_after);
            let is_limited = error.problem().is_some_and(|problem| problem.status == 429);
            // Whoever is told to wait and calls before that waits longer: that is the caller's to decide.
            if is_limited && asked.is_some_and(|asked| asked > PAUSE_MAX) {
                return Err(error);
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        self.exchange_once(call).await
    }

    async fn exchange_once(&self, call: &Call<'_>) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut request = self.http.request(call.method.clone(), self.url(&call.path)?).headers(call.headers.clone());
        if let Some(fresh) = &call.fresh {
            request = request.headers(fresh()?);
        }
        request = request.timeout(call.timeout.unwrap_or(self.options.timeout) + call.wait);
        if let Some((kind, body)) = &call.body {
            request = request.header(CONTENT_TYPE, kind).body(body.clone());
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = self.read(response).await?;
        if status.is_success() {
            return Ok((status, bytes));
        }
        let problem = problem(status, &bytes);
        Err(ClientError::Refused(Problem { retry_after: asked.map(Duration::from_secs), ..problem }))
    }

    /// Follows a stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Result<EventStream, ClientError> {
        let request = self.http.get(self.url(path)?).header("accept", "text/event-stream").send();
        let head = tokio::time::timeout(self.options.timeout, request).await;
        let head = head.map_err(|_| ClientError::Unexpected { what: "a stream request" })?;
        let response = head.map_err(|source| self.unreachable(source))?;
        if response.status().is_success() {
            return Ok(EventStream::new(response, self.options.base_url.clone()));
        }
        let status = response.status();
        let bytes = self.read(response).await?;
        Err(ClientError::Refused(problem(status, &bytes)))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let max = self.options.answer_bytes_max;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if bytes.len() + chunk.len() > max {
                return Err(ClientError::TooLarge { max });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|_| ClientError::BadAddress(self.options.base_url.clone()))
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        // The error would name the whole address, which may hold ids.
        ClientError::Unreachable { address: self.options.base_url.clone(), source: source.without_url() }
    }
}

/// An address of a service, checked.
pub(crate) fn base(text: &str) -> Result<Url, ClientError> {
    let bad = || ClientError::BadAddress(text.to_owned());
    let base = Url::parse(text).map_err(|_| bad())?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || base.cannot_be_a_base() {
        return Err(bad());
    }
    Ok(base)
}

fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Keeps a text from reaching beyond its place in a path; ids need no escapes.
pub(crate) fn path_segment(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect()
}

fn problem(status: StatusCode, bytes: &[u8]) -> Problem {
    let mut problem: Problem = serde_json::from_slice(bytes).unwrap_or_else(|_| Problem {
        status: 0,
        code: String::new(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: String::new(),
        request_id: String::new(),
        retry_after: None,
    });
    problem.status = status.as_u16();
    problem
}
