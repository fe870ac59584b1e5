//! Where notifications to phones go.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use ridgeline_ports::{Clock, Push, PushError, PushReceipt, PushSender};
use ridgeline_push::{FcmOptions, FcmSender};

use crate::config::Settings;
use crate::keys;

/// The push service that is configured. Without one, phones of an embedded service look for themselves
/// (`ridgeline phone watch`), and elsewhere nobody is told.
///
/// # Errors
/// Credentials that cannot be read or are none.
pub(crate) fn sender(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Arc<dyn PushSender>>> {
    let Some(push) = &settings.auth.push else {
        if settings.kafka.is_none() {
            return Ok(Some(Arc::new(Watched)));
        }
        tracing::warn!("no [auth.push]: phones are not told; they find what waits when they ask");
        return Ok(None);
    };
    let account = keys::read_secret(&push.service_account_file).context("auth.push.service_account_file")?;
    let mut options = FcmOptions::new(account, clock);
    options.project_id.clone_from(&push.project_id);
    if let Some(url) = &push.base_url {
        options.base_url.clone_from(url);
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("auth.push.ca_file {}", path.display()))
    };
    options.authority = push.ca_file.as_ref().map(read).transpose()?;
    Ok(Some(Arc::new(FcmSender::new(options).context("[auth.push]")?)))
}

/// Phones that ask by themselves need not be sent anything.
struct Watched;

#[async_trait]
impl PushSender for Watched {
    async fn send(&self, push: &Push) -> Result<PushReceipt, PushError> {
        tracing::info!(confirmation_id = %push.confirmation_id, "waits for a phone that asks: ridgeline phone watch");
        Ok(PushReceipt { message_id: format!("watch:{}", push.confirmation_id) })
    }
}
