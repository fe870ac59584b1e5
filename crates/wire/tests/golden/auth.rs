//! Device authentication and actions.

use ridgeline_domain::{
    ActionId, ActionStatus, AuthOperation, DeliveryStatus, DeviceId, DeviceType, FamilyId, KeyAlgorithm, Language,
    Refusal, SessionId, TrustLevel, UserId,
};
use ridgeline_wire::action::{ActionReply, ActionStart, ActionVote, DueItem, Notice, RevocationOrder};
use ridgeline_wire::action_row::{
    ActionApproval, ActionRow, ActionStep, DeliveryRow, DueRow, InboxRow, OpenAction, RoleUserRow, SweepRow,
    UserActionsRow, WrongCode,
};
use ridgeline_wire::auth::{
    AuthBody, AuthCommand, AuthReply, ChallengeAnswer, ChallengeReply, DeviceReply, LoginStart, PasswordLogin,
    PushReply, Registration, RemovedReply, Revocation, TokensReply,
};
use ridgeline_wire::auth_row::{SessionRow, UserChange, UserDevice, UserDevicesRow};
use ridgeline_wire::message::SealedPart;
use ridgeline_wire::{Encoded, decode, encode};

use crate::{T0, golden, hostile, id};

#[test]
fn commands_and_revocations() {
    let command = AuthCommand {
        request_id: id(),
        operation: AuthOperation::Login,
        sender: "gateway:local".parse().unwrap(),
        body: SealedPart { key_id: "auth-1".into(), sealed: vec![4; 90] },
    };
    golden("login", &command);
    let revocation =
        Revocation { kind: "family".into(), id: id().to_string(), at: T0, reason: "refresh_token_reused".into() };
    golden("family", &revocation);
    golden(
        "heartbeat",
        &Revocation { kind: "heartbeat".into(), id: String::new(), reason: String::new(), ..revocation },
    );
}

/// Read back as written.
fn same<T: Encoded + PartialEq>(value: &T) {
    let bytes = encode(value).unwrap();
    assert!(decode::<T>(&bytes).unwrap() == *value, "{}", T::NAME);
    hostile::<T>(&bytes);
}

/// What lies sealed or encrypted inside other values, in its fullest form: read back as written.
#[test]
fn bodies_of_device_authentication() {
    let (session, device) = (SessionId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
    let registration = Registration {
        device_name: "Điện thoại".parse().unwrap(),
        device_type: DeviceType::Mobile,
        device_fingerprint: "a1b2".parse().unwrap(),
        public_key: "pem".into(),
        key_algorithm: KeyAlgorithm::Es256,
        language: Some(Language::Vi),
        proof_key: Some("{}".into()),
    };
    same(&registration);
    same(&AuthBody {
        credential: Some("a.b.c".into()),
        proof: Some("d.e.f".into()),
        address: "192.0.2.1".into(),
        user_agent: Some("app/1".into()),
        registration: Some(registration),
        login: Some(LoginStart { device_fingerprint: "a1b2".parse().unwrap(), device_id: Some(device) }),
        answer: Some(ChallengeAnswer { session_id: session, signature: "c2ln".into(), remember: true }),
        refresh_token: Some("r".into()),
        device_id: Some(device),
        push_token: Some("p".into()),
        password: Some(PasswordLogin { email: "a@b.example".into(), password: "secret".into() }),
        action: Some(ActionStart {
            action_type: "payment_approval".parse().unwrap(),
            payload: "{}".into(),
            language: Some(Language::Vi),
            display_code: true,
            callback_url: Some("https://erp.example/".into()),
            life_seconds: 300,
        }),
        action_id: Some(ACTION),
        vote: Some(ActionVote { device_id: device, signature: "c2ln".into(), display_code: Some("42".into()) }),
        reason: Some("no".into()),
        action_token: Some("t".into()),
        due: Some(DueItem { kind: "action".into(), id: ACTION.to_string(), bucket: "1:2".into() }),
        revocation: Some(RevocationOrder { kind: "user".into(), id: "x".into(), before: Some(T0) }),
    });
    same(&AuthBody::default());
}

#[test]
fn replies_of_device_authentication() {
    let (session, device) = (SessionId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
    same(&AuthReply {
        refusal: Some(Refusal::BadSignature),
        detail: Some("why".into()),
        challenge: Some(ChallengeReply { session_id: session, challenge: "c".into(), expires_at: T0 }),
        device: Some(DeviceReply {
            device_id: device,
            device_name: "x".parse().unwrap(),
            trust_level: TrustLevel::High,
            created_at: T0,
        }),
        tokens: Some(TokensReply {
            access_token: "a".into(),
            access_expires_at: T0,
            refresh_token: Some("r".into()),
            refresh_expires_at: Some(T0),
            device_id: Some(device),
            trust_level: Some(TrustLevel::Low),
            session_id: Some(session),
            bound: true,
        }),
        removed: Some(RemovedReply { device_id: device, revoked_tokens: 2 }),
        push: Some(PushReply { device_id: device, updated_at: T0 }),
        action: Some(ActionReply {
            action_id: ACTION,
            status: ActionStatus::Pending,
            action_type: "payment_approval".parse().unwrap(),
            challenge: Some("c".into()),
            display_code: Some("42".into()),
            expires_at: T0,
            notified_devices: 2,
            redeemed_at: Some(T0),
        }),
        revoked: Some(1),
        evidence: Some("a.b.c".into()),
    });
}

#[test]
fn rows_of_device_authentication() {
    let (session, device) = (SessionId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
    let user: UserId = "https://id.example|17".parse().unwrap();
    same(&SessionRow {
        session_id: session,
        purpose: AuthOperation::Register,
        challenge: vec![1],
        client: vec![2],
        user: Some(user.clone()),
        roles: vec!["clerk".into()],
        registration: Some(vec![3]),
        candidates: vec![device],
        fingerprint: vec![4],
        created_at: T0,
        expires_at: T0,
        consumed_by: Some(id()),
        verified_at: Some(T0),
        trust_level: Some(TrustLevel::High),
        device_id: Some(device),
    });
    same(&UserDevicesRow {
        user,
        devices: vec![UserDevice { device_id: device, fingerprint: vec![1] }],
        changes: vec![UserChange { request_id: id(), removed: Some(device) }],
    });
}

const ACTION: ActionId = ActionId::from_bytes([3; 16]);

#[test]
fn notices() {
    let notice = Notice {
        request_id: id(),
        kind: "confirmation_request".into(),
        action_id: ACTION,
        user: "https://id.example|17".parse().unwrap(),
        devices: vec![DeviceId::from_bytes([2; 16])],
        statement: None,
        created_at: T0,
        expires_at: T0,
    };
    golden("confirmation-request", &notice);
    let callback = Notice { kind: "callback".into(), devices: vec![], statement: Some("a.b.c".into()), ..notice };
    golden("callback", &callback);
}

#[test]
fn rows_of_actions() {
    let user: UserId = "https://id.example|17".parse().unwrap();
    let device = DeviceId::from_bytes([2; 16]);
    same(&ActionRow {
        action_id: ACTION,
        user: user.clone(),
        client: "erp".into(),
        action_type: "payment_approval".parse().unwrap(),
        payload: vec![1],
        challenge: vec![2],
        display_code: Some(vec![3]),
        language: Some(Language::En),
        callback_url: Some(vec![4]),
        caller: vec![5],
        in_order: true,
        steps: vec![ActionStep {
            approvers: vec![user.clone()],
            named: vec![user.clone()],
            roles: vec!["director".into()],
            required: 1,
        }],
        approvals: vec![ActionApproval {
            user: user.clone(),
            device_id: device,
            request_id: id(),
            at: T0,
            family_id: Some(FamilyId::from_bytes([9; 16])),
            issued_at: T0,
            key_algorithm: KeyAlgorithm::Ps256,
            public_key: vec![6],
            signature: vec![7],
            caller: vec![8],
        }],
        wrong_codes: vec![WrongCode { request_id: id(), user: user.clone(), device_id: device }],
        status: ActionStatus::Approved,
        created_by: id(),
        created_at: T0,
        expires_at: T0,
        finished_by: Some(id()),
        finished_at: Some(T0),
        rejected_by: Some(user.clone()),
        rejected_with: Some(device),
        reason: Some(vec![9]),
        token: Some(vec![10]),
        nonce: Some(vec![11]),
        token_expires_at: Some(T0),
        redeemed_by: Some(id()),
        redeemed_at: Some(T0),
        updated_at: T0,
    });
    same(&UserActionsRow { user: user.clone(), open: vec![OpenAction { action_id: ACTION, expires_at: T0 }] });
    same(&InboxRow { expires_at: T0 });
    same(&RoleUserRow { registered_at: T0 });
    same(&DueRow { at: T0 });
    same(&SweepRow { through: T0 });
    same(&DeliveryRow {
        action_id: ACTION,
        user,
        device_id: Some(device),
        kind: "confirmation_request".into(),
        status: DeliveryStatus::Delivered,
        attempts: 2,
        message_id: Some("m".into()),
        error: Some("e".into()),
        created_at: T0,
        sent_at: Some(T0),
        delivered_at: Some(T0),
        expires_at: T0,
        updated_at: T0,
    });
}
