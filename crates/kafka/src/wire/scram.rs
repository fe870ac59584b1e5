//! SCRAM as a client (RFC 5802, RFC 7677): the password is proven, and so is that the broker knows it.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use openssl::base64::{decode_block, encode_block};
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use ridgeline_domain::Sensitive;

use crate::config::{Mechanism, Sasl};

/// More rounds than any broker asks for; a hostile one could keep us busy for ever.
const ROUNDS_MAX: usize = 1_000_000;
/// Fewer than the standard allows tell the password to who listens.
const ROUNDS_MIN: usize = 4_096;
/// Client first message without a channel binding.
const UNBOUND: &str = "n,,";
const UNBOUND_BASE64: &str = "biws";

/// One attempt.
pub(super) struct Scram {
    digest: MessageDigest,
    password: Sensitive<String>,
    /// The first message without its binding.
    bare: String,
    nonce: String,
    server: Option<Vec<u8>>,
}

impl Scram {
    pub(super) fn new(sasl: &Sasl) -> Result<Self, String> {
        let mut nonce = [0; 24];
        openssl::rand::rand_bytes(&mut nonce).map_err(|_| "no randomness".to_owned())?;
        Ok(Self::with_nonce(sasl, encode_block(&nonce)))
    }

    fn with_nonce(sasl: &Sasl, nonce: String) -> Self {
        let digest = match sasl.mechanism {
            Mechanism::ScramSha256 => MessageDigest::sha256(),
            Mechanism::ScramSha512 | Mechanism::Plain => MessageDigest::sha512(),
        };
        let user = sasl.username.replace('=', "=3D").replace(',', "=2C");
        Self { digest, password: sasl.password.clone(), bare: format!("n={user},r={nonce}"), nonce, server: None }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("{UNBOUND}{}", self.bare)
    }

    /// The answer to the server's first message.
    pub(super) fn proof(&mut self, first: &[u8]) -> Result<String, String> {
        let first = std::str::from_utf8(first).map_err(|_| unreadable())?;
        let (nonce, salt, rounds) = (field(first, "r=")?, field(first, "s=")?, field(first, "i=")?);
        let salt = decode_block(salt).map_err(|_| unreadable())?;
        let rounds: usize = rounds.parse().map_err(|_| unreadable())?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker answers another login".into());
        }
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return Err(format!("the broker asks for {rounds} rounds; {ROUNDS_MIN} to {ROUNDS_MAX} are sound"));
        }
        let mut salted = vec![0; self.digest.size()];
        let password = self.password.expose().as_bytes();
        pbkdf2_hmac(password, &salt, rounds, self.digest, &mut salted).map_err(|_| unreadable())?;
        let salted = Sensitive::new(salted);
        let unproven = format!("c={UNBOUND_BASE64},r={nonce}");
        let said = format!("{},{first},{unproven}", self.bare);
        let client_key = Sensitive::new(self.mac(salted.expose(), b"Client Key")?);
        let stored = hash(self.digest, client_key.expose()).map_err(|_| unreadable())?;
        let signature = self.mac(&stored, said.as_bytes())?;
        let proof: Vec<u8> =
            client_key.expose().iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = Sensitive::new(self.mac(salted.expose(), b"Server Key")?);
        self.server = Some(self.mac(server_key.expose(), said.as_bytes())?);
        Ok(format!("{unproven},p={}", encode_block(&proof)))
    }

    /// Whether the server's last message proves that it knows the password too.
    pub(super) fn verify(&self, last: &[u8]) -> Result<(), String> {
        let last = std::str::from_utf8(last).map_err(|_| unreadable())?;
        let signature = decode_block(field(last, "v=")?).map_err(|_| unreadable())?;
        match &self.server {
            Some(own) if own.len() == signature.len() && openssl::memcmp::eq(own, &signature) => Ok(()),
            _ => Err("the broker does not know the password".into()),
        }
    }

    fn mac(&self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
        let key = PKey::hmac(key).map_err(|_| unreadable())?;
        let mut signer = Signer::new(self.digest, &key).map_err(|_| unreadable())?;
        signer.sign_oneshot_to_vec(message).map_err(|_| unreadable())
    }
}

fn field<'a>(message: &'a str, name: &str) -> Result<&'a str, String> {
    message.split(',').find_map(|part| part.strip_prefix(name)).ok_or_else(unreadable)
}

fn unreadable() -> String {
    "the broker's part of the login cannot be read".into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn example() -> (Scram, &'static str) {
        let password = Sensitive::new("pencil".to_owned());
        let sasl = Sasl { mechanism: Mechanism::ScramSha256, username: "user".into(), password };
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        (Scram::with_nonce(&sasl, "rOprNGfwEbeRWgbNEkqO".into()), first)
    }

    #[test]
    fn the_published_exchange() {
        let (mut scram, first) = example();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.proof(first.as_bytes()).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl96G4=").is_err());
        assert!(scram.verify(b"e=other-error").is_err());
    }

    #[test]
    fn a_server_that_cheats_gets_no_proof() {
        for (from, to) in
            [("rOpr", "xOpr"), ("i=4096", "i=1"), ("i=4096", "i=4000000000"), ("s=W22Z", "s=!!!!"), (",i=4096", "")]
        {
            let (mut scram, first) = example();
            assert!(scram.proof(first.replace(from, to).as_bytes()).is_err(), "{from} as {to}");
            assert!(scram.verify(b"v=").is_err());
        }
        let (mut scram, first) = example();
        assert!(
            scram.proof(first.replace("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "").as_bytes()).is_err(),
            "nothing of its own"
        );
        assert!(scram.proof(&[0xff]).is_err());
    }

    #[test]
    fn names_are_escaped() {
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "a=b,c".into(),
            password: Sensitive::new(String::new()),
        };
        assert!(Scram::new(&sasl).unwrap().first().starts_with("n,,n=a=3Db=2Cc,r="));
    }
}
