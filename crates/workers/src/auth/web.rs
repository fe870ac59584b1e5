//! Users of the service's own sign in with a password.

use ridgeline_domain::{ErrorCode, Refusal, Sensitive, UserId};
use ridgeline_identity::normalised_email;
use ridgeline_runtime::StepError;
use ridgeline_vault::password;
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{UserRow, table};

use super::rows::load;
use super::{Halt, Work};
use crate::platform::cpu_fault;

impl Work<'_> {
    fn own_user(&self, row: &UserRow) -> Result<UserId, StepError> {
        UserId::new(&self.auth.parts.config.issuer, &row.user_id)
            .map_err(|_| StepError::poison(ErrorCode::Internal, "a stored user has no valid id"))
    }

    /// A web token for e-mail and password. An unknown user costs the same work as a wrong password.
    pub(super) async fn web_login(&mut self) -> Result<AuthReply, Halt> {
        let login = self.needed(&self.command.body.password)?;
        let platform = &self.auth.platform;
        let found = match normalised_email(&login.email) {
            Some(email) => load::<UserRow>(platform, table::USERS, &email).await?.map(|loaded| loaded.row),
            None => None,
        };
        // Guesses at somebody's password are accounted for as his.
        if let Some(row) = &found {
            self.about.user = Some(self.own_user(row)?);
        }
        let found = found.filter(|row| !row.disabled);
        let (typed, phc) = (Sensitive::new(login.password.clone()), found.as_ref().map(|row| row.password.clone()));
        let check = move || match phc {
            Some(phc) => password::verify(&phc, &typed),
            None => {
                password::dummy_verify(&typed);
                false
            }
        };
        let is_right = platform.cpu.run(check).await.map_err(cpu_fault)?;
        let row = found.filter(|_| is_right).ok_or(Refusal::BadCredential)?;
        let user = self.own_user(&row)?;
        let tokens = self.web_token(&user, &row.email, &row.roles).await?;
        Ok(AuthReply { tokens: Some(tokens), ..AuthReply::default() })
    }
}
