//! `phone …`: a phone in software, for people at a terminal.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ridgeline_client::{
    AuthClient, ClientError, ClientOptions, Confirmation, ConfirmationState, Device, Phone, PhoneError, Profile,
    Settled, SignedIn, rfc3339, shown_payload, visible,
};
use ridgeline_domain::{ActionId, DurationMs, Sensitive, Timestamp};
use ridgeline_ports::Clock as _;
use ridgeline_runtime::{SystemClock, SystemEntropy};

use crate::args::{PhoneArgs, PhoneCommand, RegisterArgs};
use crate::config::Settings;
use crate::{keys, operator, output, remote};

/// Pause while the service cannot be reached and does not say how long.
const PAUSE_UNREACHABLE: Duration = Duration::from_secs(5);

/// `phone …`. Exit code 1: not approved.
///
/// # Errors
/// A file that is no phone's, and what the service refuses; each with what to do about it.
pub(crate) async fn run(settings: &Settings, args: PhoneArgs) -> anyhow::Result<ExitCode> {
    let done = match args.command.clone() {
        PhoneCommand::Register(register) => return self::register(settings, &args, &register).await,
        command => {
            let phone = Phone::open(&args.file).map_err(advise)?;
            let client = client(settings, &args, &phone)?;
            Terminal { phone, client, file: &args.file }.run(command).await
        }
    };
    done.map_err(advise)
}

async fn register(settings: &Settings, args: &PhoneArgs, register: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let is_new = !args.file.try_exists().with_context(|| format!("cannot read {}", args.file.display()))?;
    let phone = if is_new { Phone::create(&args.file, &SystemEntropy) } else { Phone::open(&args.file) };
    let mut phone = phone.map_err(advise)?;
    let client = client(settings, args, &phone)?;
    let web_token = web_token(&client, register).await?;
    let profile =
        Profile { name: register.device_name.clone(), device_type: register.device_type, language: register.language };
    let device = phone.register(&client, &web_token, &profile).await.map_err(advise)?;
    output::line(&format!("registered {} as {}, trust {}", device.device_name, device.device_id, device.trust_level));
    output::remark(&format!("its keys are in {}; sign in with: {}", args.file.display(), command("login", &args.file)));
    Ok(ExitCode::SUCCESS)
}

async fn web_token(client: &AuthClient, register: &RegisterArgs) -> anyhow::Result<Sensitive<String>> {
    if let Some(file) = &register.web_token_file {
        return keys::read_secret(file).context("web token");
    }
    let email = register.email.as_deref().context("name --web-token-file, or --email with --password-stdin")?;
    let password = operator::read_password(std::io::stdin().lock())?;
    let login = client.web_login(email, &password).await;
    Ok(login.context("the user cannot sign in")?.access_token)
}

fn client(settings: &Settings, args: &PhoneArgs, phone: &Phone) -> anyhow::Result<AuthClient> {
    let at = args.url.as_deref().or(phone.service());
    let url = at.map_or_else(|| remote::local_url(settings.listen), str::to_owned);
    if url.strip_prefix("http://").is_some_and(|rest| !is_own(rest)) {
        output::remark("tokens go to this address in the clear; use https beyond your own machine");
    }
    let options = ClientOptions::new(url, None);
    let client = AuthClient::new(options, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    Ok(match &args.public_url {
        Some(url) => client.with_public_url(url)?,
        None => client,
    })
}

/// A phone at a terminal.
struct Terminal<'a> {
    phone: Phone,
    client: AuthClient,
    file: &'a Path,
}

impl Terminal<'_> {
    async fn run(&mut self, command: PhoneCommand) -> Result<ExitCode, PhoneError> {
        match command {
            PhoneCommand::Login => output::line(&signed_in(&self.phone.login(&self.client).await?)),
            PhoneCommand::Refresh => output::line(&signed_in(&self.phone.refresh(&self.client).await?)),
            PhoneCommand::Watch { every } => self.watch(Duration::from_secs(every)).await?,
            PhoneCommand::Approve { id, code, yes } => return self.approve(id, code.as_deref(), yes).await,
            PhoneCommand::Reject { id, reason } => {
                let settled = self.phone.reject(&self.client, id, reason.as_deref()).await?;
                output::line(&self::settled(&settled));
            }
            PhoneCommand::Devices => {
                let own = self.phone.device_id();
                for device in self.phone.devices(&self.client).await? {
                    output::line(&in_a_line(&device, own == Some(device.device_id)));
                }
            }
            // It has a function of its own: there is no phone yet.
            PhoneCommand::Register(_) => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Shows what is new until the session ends or the phone's file is gone.
    async fn watch(&mut self, every: Duration) -> Result<(), PhoneError> {
        let mut shown = BTreeSet::new();
        let mut is_told = false;
        self.phone.watches(&self.client).await?;
        output::remark("waiting for confirmations; Ctrl-C ends it");
        loop {
            let pause = match self.phone.pending(&self.client).await {
                Ok(pending) => {
                    for new in pending.iter().filter(|one| !shown.contains(&one.confirmation_id)) {
                        output::line(&self.shown(new, SystemClock.now()));
                        // Only the service's records want to know.
                        let _ = self.phone.received(&self.client, new.confirmation_id).await;
                    }
                    // What is pending no more is never shown again: ids are used once.
                    shown = pending.iter().map(|one| one.confirmation_id).collect();
                    is_told = false;
                    every
                }
                Err(error) => {
                    let Some(pause) = patience(&error, every) else { return Err(error) };
                    if !is_told {
                        output::remark(&format!("{error}; trying again"));
                    }
                    is_told = true;
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn approve(&mut self, id: ActionId, code: Option<&str>, yes: bool) -> Result<ExitCode, PhoneError> {
        let shown = self.phone.confirmation(&self.client, id, Duration::ZERO).await?;
        output::line(&self::shown(&shown, SystemClock.now()));
        if shown.status != ConfirmationState::Pending {
            return Err(PhoneError::NotPending(shown.status));
        }
        if !yes {
            output::remark("approve this? [y/N]");
            if !is_yes(&typed(std::io::stdin().lock())) {
                output::line("not approved");
                return Ok(ExitCode::from(1));
            }
        }
        let mut code = code.map(str::to_owned);
        if code.is_none() && shown.needs_display_code == Some(true) {
            output::remark("which code is shown where this was asked for?");
            code = Some(typed(std::io::stdin().lock()));
        }
        let settled = self.phone.approve(&self.client, &shown, code.as_deref()).await?;
        output::line(&self::settled(&settled));
        Ok(ExitCode::SUCCESS)
    }

    /// A confirmation, and what can be done about it.
    fn shown(&self, confirmation: &Confirmation, now: Timestamp) -> String {
        let id = confirmation.confirmation_id;
        let (yes, no) = (command("approve", self.file), command("reject", self.file));
        let text = self::shown(confirmation, now);
        let code = match confirmation.needs_display_code {
            Some(true) => " --code NN",
            Some(false) => "",
            None => " [--code NN]",
        };
        format!("{text}\n  {yes} {id}{code}\n  {no} {id}\n")
    }
}

/// A command for this phone, as it is typed.
fn command(name: &str, file: &Path) -> String {
    if file == Path::new("phone.json") {
        return format!("ridgeline phone {name}");
    }
    format!("ridgeline phone --file {} {name}", file.display())
}

fn shown(confirmation: &Confirmation, now: Timestamp) -> String {
    let Confirmation { confirmation_id, status, action_type, required_approvals, .. } = confirmation;
    let mut text = format!("{action_type} {confirmation_id}, {status}");
    if *status == ConfirmationState::Pending {
        text.push_str(&format!(", {}", left(confirmation.expires_at.since(now))));
    }
    if *required_approvals > 1 {
        text.push_str(&format!(", {} of {required_approvals} approvals", confirmation.approvals.len()));
        let who: Vec<_> =
            confirmation.approvals.iter().map(|one| visible(&one.approver).replace('\n', "\\n")).collect();
        if !who.is_empty() {
            text.push_str(&format!(" ({})", who.join(", ")));
        }
    }
    format!("{text}\n{}", shown_payload(&confirmation.action_payload))
}

fn left(span: DurationMs) -> String {
    match span.0.div_euclid(1_000) {
        ..=0 => "expired by this machine's clock".to_owned(),
        seconds @ 1..=119 => format!("expires in {seconds} s"),
        seconds => format!("expires in {} min {} s", seconds / 60, seconds % 60),
    }
}

fn settled(settled: &Settled) -> String {
    let Settled { confirmation_id, status } = settled;
    match status {
        ConfirmationState::Pending => format!("{confirmation_id} approved; other approvals are missing"),
        _ => format!("{confirmation_id} {status}"),
    }
}

fn signed_in(session: &SignedIn) -> String {
    let mut text = format!("signed in until {}", rfc3339(session.access_expires_at));
    if let Some(end) = session.refresh_expires_at {
        text.push_str(&format!(", by refreshes until {}", rfc3339(end)));
    }
    if let Some(trust) = session.trust_level {
        text.push_str(&format!(", trust {trust}"));
    }
    text
}

fn in_a_line(device: &Device, is_own: bool) -> String {
    let Device { device_id, device_name, device_type, key_algorithm, trust_level, .. } = device;
    let (used, own) = (rfc3339(device.last_used_at), if is_own { " (this phone)" } else { "" });
    format!("{device_id} {device_name}, {device_type}, {key_algorithm}, trust {trust_level}, last used {used}{own}")
}

/// The next line, without the space around it; empty at the end of input and for what is no text.
fn typed(input: impl BufRead) -> String {
    let mut line = String::new();
    let read = input.take(64).read_line(&mut line);
    read.map_or_else(|_| String::new(), |_| line.trim().to_owned())
}

fn is_yes(line: &str) -> bool {
    line.eq_ignore_ascii_case("y") || line.eq_ignore_ascii_case("yes")
}

/// Whether what follows `http://` leads to this machine.
fn is_own(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How long to wait until the next attempt; `None` where it would end the same.
fn patience(error: &PhoneError, every: Duration) -> Option<Duration> {
    match error {
        PhoneError::Busy { .. } => Some(every),
        PhoneError::Call(error) if error.is_transient() => {
            let asked = error.problem().and_then(|problem| problem.retry_after);
            Some(asked.unwrap_or(PAUSE_UNREACHABLE).max(every))
        }
        _ => None,
    }
}

/// The error and what to do about it.
fn advise(error: PhoneError) -> anyhow::Error {
    let advice = match &error {
        PhoneError::File(ridgeline_vault::VaultError::File { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            "`ridgeline phone register` makes a phone; --file names another one"
        }
        PhoneError::NotAPhone { .. } | PhoneError::OtherVersion { .. } => {
            "name another file with --file, and make a new phone there with `ridgeline phone register`"
        }
        PhoneError::NotRegistered => "run `ridgeline phone register`",
        PhoneError::NotSignedIn | PhoneError::SessionOver | PhoneError::SessionEnded(_) | PhoneError::AnswerLost => {
            "run `ridgeline phone login`"
        }
        PhoneError::Call(ClientError::Unreachable { .. }) => "is the service up, and --url its address?",
        PhoneError::Call(ClientError::Refused(problem)) => match (problem.status, problem.retry_after) {
            (401, _) => {
                "run `ridgeline phone login`; if that fails too: the device was removed, this clock is off by a minute, or \
                 --public-url must name the service as it knows itself"
            }
            (404, _) => "no confirmation of this id waits for this user",
            (429, Some(pause)) => return anyhow!("{}: wait {} s", visible(&error.to_string()), pause.as_secs()),
            _ => return anyhow!("{}", visible(&error.to_string())),
        },
        _ => return error.into(),
    };
    // Part of it comes from the service.
    anyhow!("{}: {advice}", visible(&format!("{:#}", anyhow::Error::new(error))))
}

#[cfg(test)]
mod tests {
    use ridgeline_client::Problem;
    use serde_json::json;

    use super::*;

    fn confirmation(status: &str) -> Confirmation {
        let value = json!({
            "confirmationId": "000102030405060708090a0b0c0d0e0f", "status": status, "actionType": "payment",
            "actionPayload": { "to": "An\u{202e}", "amount": 5 }, "challenge": "secret",
            "approvals": [{ "approver": "li\u{1b}nh", "at": "2027-01-15T08:00:00.000Z" }], "requiredApprovals": 2,
            "createdAt": "2027-01-15T08:00:00.000Z", "expiresAt": "2027-01-15T08:05:00.000Z",
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_confirmation_is_shown_whole_and_its_challenge_is_not() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let text = shown(&confirmation("pending"), now);
        assert_eq!(
            text,
            "payment 000102030405060708090a0b0c0d0e0f, pending, expires in 5 min 0 s, 1 of 2 approvals (li\\u001bnh)\n\
             {\n  \"amount\": 5,\n  \"to\": \"An\\u202e\"\n}"
        );
        assert!(!shown(&confirmation("rejected"), now).contains("expire"));
        assert_eq!(left(DurationMs(61_000)), "expires in 61 s");
        assert_eq!(left(DurationMs(-1)), "expired by this machine's clock");
    }

    #[test]
    fn only_yes_is_yes() {
        for (text, yes) in [
            ("y\n", true),
            ("Yes\n", true),
            (" y ", true),
            ("", false),
            ("\n", false),
            ("n\ny\n", false),
            ("yess", false),
        ] {
            assert_eq!(is_yes(&typed(text.as_bytes())), yes, "{text:?}");
        }
        assert_eq!(typed(&[0xff, b'y', b'\n'][..]), "");
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> PhoneError {
        let (code, title) = ("RL-1".to_owned(), "No".to_owned());
        let problem = Problem { status, code, title, detail: String::new(), request_id: String::new(), retry_after };
        PhoneError::Call(ClientError::Refused(problem))
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(advise(PhoneError::NotRegistered).to_string().contains("phone register"));
        assert!(advise(PhoneError::AnswerLost).to_string().contains("phone login"));
        assert!(advise(refused(401, None)).to_string().contains("phone login"));
        assert!(advise(refused(429, Some(Duration::from_secs(60)))).to_string().ends_with("wait 60 s"));
        let missing = Phone::open(Path::new("/nowhere/phone.json")).unwrap_err();
        assert!(advise(missing).to_string().contains("phone register"));
        assert!(advise(PhoneError::OtherAction).to_string().contains("nothing was signed"));
    }

    #[test]
    fn only_this_machine_is_called_without_a_warning() {
        for own in ["localhost:8080", "127.0.0.1:8080/x", "127.9.9.9", "[::1]:80/"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in
            ["localhost.evil.example", "127.evil.example", "127.0.0.1.evil.example:80", "[::2]", "", "10.0.0.1"]
        {
            assert!(!is_own(foreign), "{foreign}");
        }
    }

    #[test]
    fn watching_waits_as_long_as_it_is_told() {
        let every = Duration::from_secs(3);
        assert_eq!(patience(&refused(429, Some(Duration::from_secs(60))), every), Some(Duration::from_secs(60)));
        assert_eq!(patience(&refused(503, Some(Duration::ZERO)), every), Some(every));
        assert_eq!(patience(&refused(503, None), every), Some(PAUSE_UNREACHABLE));
        assert_eq!(patience(&refused(401, None), every), None);
        assert_eq!(patience(&PhoneError::NotSignedIn, every), None);
    }

    #[test]
    fn commands_name_the_phone_they_are_for() {
        assert_eq!(command("login", Path::new("phone.json")), "ridgeline phone login");
        assert_eq!(command("approve", Path::new("a/b.json")), "ridgeline phone --file a/b.json approve");
    }
}
