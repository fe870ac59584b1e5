//! Calls to addresses that came with a request.
//!
//! Such an address is chosen by someone else, who may name with it what only this machine can reach. So the name is resolved once,
//! every address it stands for is judged, and the connection goes to one of these and nowhere else: the only resolver that the
//! client has is the one that judges.

mod reach;
mod url;

use std::error::Error;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use self::reach::Reach;
pub use self::url::{CallbackUrl, URL_BYTES_MAX};
use crate::configured::{certificates, retry_after};
use crate::{Answer, EgressError};

/// Names that are being resolved. The system's resolver holds a thread while it waits for a name server, which may be the caller's
/// own and slow on purpose; the threads are shared with everything else that blocks.
const LOOKUPS_MAX: usize = 64;

/// How calls are made.
#[derive(Debug, Clone)]
pub struct UntrustedOptions {
    /// Takes `http://` and addresses of this machine and network too: for closed networks and tests. Link-local addresses, where
    /// clouds keep a machine's credentials, stay refused.
    pub allow_private: bool,
    /// Certificates (PEM) that the other side is believed by, besides the system's.
    pub authority: Option<String>,
    /// From resolving the name to the last byte of the answer. Default 5 s.
    pub timeout: Duration,
    /// How much of an answer is kept; what is longer is cut off. Default 64 KiB.
    pub answer_bytes_max: usize,
}

impl Default for UntrustedOptions {
    fn default() -> Self {
        Self { allow_private: false, authority: None, timeout: Duration::from_secs(5), answer_bytes_max: 64 << 10 }
    }
}

/// A client of addresses that came with a request. It follows no redirection, takes no proxy and keeps no connection. Clones share
/// the limit of names that are being resolved.
#[derive(Debug, Clone)]
pub struct Untrusted {
    http: reqwest::Client,
    allow_private: bool,
    answer_bytes_max: usize,
}

impl Untrusted {
    /// A client; connects with each call.
    ///
    /// # Errors
    /// `BadCertificate`, `Setup`.
    pub fn new(options: UntrustedOptions) -> Result<Self, EgressError> {
        Self::with_resolver(options, Arc::new(System { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }))
    }

    /// A connection is not kept, because the next call resolves its name anew; and a call that was cut is not made twice.
    fn with_resolver(options: UntrustedOptions, resolver: Arc<dyn Resolve>) -> Result<Self, EgressError> {
        let UntrustedOptions { allow_private, authority, timeout, answer_bytes_max } = options;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ridgeline/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Judging { resolver, allow_private }))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .https_only(!allow_private)
            .min_tls_version(reqwest::tls::Version::TLS_1_2)
            .pool_max_idle_per_host(0)
            .connect_timeout(timeout)
            .timeout(timeout);
        for certificate in authority.as_deref().map(certificates).transpose()?.unwrap_or_default() {
            builder = builder.add_root_certificate(certificate);
        }
        let http = builder.build().map_err(EgressError::Setup)?;
        Ok(Self { http, allow_private, answer_bytes_max })
    }

    /// Sends `body`, a media type and bytes, once. Any status is an [`Answer`], a redirection too.
    ///
    /// # Errors
    /// `BadCallback` for a URL that only [`CallbackUrl::parse_private`] takes, `BadHeader`, `ForbiddenAddress` if one of the
    /// addresses behind the name must not be called, `Unreachable`. None tells more of the URL than its origin.
    pub async fn post(
        &self,
        url: &CallbackUrl,
        headers: &[(&'static str, String)],
        body: (&'static str, Vec<u8>),
    ) -> Result<Answer, EgressError> {
        url.admit(self.allow_private)?;
        let (kind, bytes) = body;
        let mut fields = fields(headers)?;
        fields.insert(CONTENT_TYPE, value("content-type", kind)?);
        let request = self.http.post(url.url().clone()).headers(fields).body(bytes);
        let mut response = request.send().await.map_err(|error| failure(url, error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        let mut body = Vec::new();
        while let Some(room) = self.answer_bytes_max.checked_sub(body.len()).filter(|room| *room > 0) {
            match response.chunk().await.map_err(|error| failure(url, error))? {
                Some(chunk) => body.extend(chunk.iter().take(room)),
                None => break,
            }
        }
        Ok(Answer { status, body, retry_after })
    }
}

/// Values are marked, so that no layer below shows them: a header may carry a signature or a token.
fn fields(headers: &[(&'static str, String)]) -> Result<HeaderMap, EgressError> {
    let mut fields = HeaderMap::new();
    for &(name, ref text) in headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| EgressError::BadHeader(name))?;
        let mut value = value(name, text)?;
        value.set_sensitive(true);
        fields.append(key, value);
    }
    Ok(fields)
}

fn value(name: &'static str, text: &str) -> Result<HeaderValue, EgressError> {
    HeaderValue::from_str(text).map_err(|_| EgressError::BadHeader(name))
}

fn failure(url: &CallbackUrl, error: reqwest::Error) -> EgressError {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    if causes.any(<dyn Error>::is::<Forbidden>) {
        return url.forbidden();
    }
    EgressError::Unreachable { address: url.origin(), source: error.without_url() }
}

/// One of a name's addresses must not be called. It does not say which: what the names inside a network stand for is nobody's
/// business outside.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for an address that must not be called")]
struct Forbidden;

/// Lets a name's addresses through if every one of them may be called.
struct Judging {
    resolver: Arc<dyn Resolve>,
    allow_private: bool,
}

impl Resolve for Judging {
    /// A name with one bad address is refused as a whole: which of them the connection takes is not for the caller to steer.
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, allow_private) = (self.resolver.resolve(name), self.allow_private);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            if addresses.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            if addresses.iter().any(|address| !Reach::of(address.ip()).is_allowed(allow_private)) {
                return Err(Forbidden.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
struct System {
    lookups: Arc<Semaphore>,
}

impl Resolve for System {
    /// The permit stays with the thread, which goes on after a call has been given up. Port 0 stands for the port of the URL.
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let lookup = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(permit);
                found
            };
            let found = tokio::task::spawn_blocking(lookup).await??;
            Ok(Box::new(found) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
