//! The local AWS Secrets Manager: secrets, their versions and staging labels, with the errors of AWS.
//!
//! Secrets are kept in one file that only its owner can read, or in memory. They are not encrypted: the tokens in the file
//! only give access to the data on the same machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Clock, Error, atomic_file, lock, random_id};

/// The staging label of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// The staging label of the version that was in use before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// Maximum number of versions. AWS removes the oldest versions without a label beyond it, but none from the last day
/// ("PutSecretValue").
const VERSIONS: usize = 100;
/// Time for which the secrets before a change are kept.
const PAST: Duration = Duration::from_secs(10);
/// A day, in seconds.
const DAY: f64 = 24.0 * 60.0 * 60.0;
/// The time between the deletion of a secret and its end, in days ("DeleteSecret").
const RECOVERY_DAYS: f64 = 30.0;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Secret {
    arn: String,
    created: f64,
    /// When the secret was scheduled for deletion.
    deleted: Option<f64>,
    versions: Vec<Version>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Version {
    id: String,
    created: f64,
    string: String,
    stages: Vec<String>,
}

type SecretStore = BTreeMap<String, Secret>;

/// An error of AWS.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

fn refused(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        status: if code == "InternalServiceError" {
            500
        } else {
            400
        },
        code,
        message: message.into(),
    }
}

/// The secrets of the local account.
pub(crate) struct Secrets {
    file: Option<PathBuf>,
    clock: Clock,
    store: Mutex<SecretStore>,
    /// The secrets before each recent change, for [`Secrets::call_as_of`].
    past: Mutex<Vec<(Instant, SecretStore)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    name: String,
    client_request_token: Option<String>,
    secret_string: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    secret_id: String,
    client_request_token: Option<String>,
    version_stages: Option<Vec<String>>,
    secret_string: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MoveStage {
    secret_id: String,
    version_stage: String,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    secret_id: String,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

impl Secrets {
    pub(crate) fn in_memory(clock: Clock) -> Self {
        Secrets {
            file: None,
            clock,
            store: Mutex::default(),
            past: Mutex::default(),
        }
    }

    pub(crate) fn open(file: PathBuf, clock: Clock) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Data {
            path: file.clone(),
            reason,
        };
        let store = match atomic_file::read(&file).map_err(|error| unreadable(error.to_string()))? {
            Some(content) => serde_json::from_slice(&content)
                .map_err(|_| unreadable("it is not a file of secrets".to_owned()))?,
            None => SecretStore::new(),
        };
        Ok(Secrets {
            file: Some(file),
            clock,
            store: Mutex::new(store),
            past: Mutex::default(),
        })
    }

    /// Performs one operation.
    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        let mut store = lock(&self.store);
        match operation {
            "GetSecretValue" => self.get(&store, &input(body)?),
            "CreateSecret" => self.change(&mut store, input(body)?, Self::create),
            "PutSecretValue" => self.change(&mut store, input(body)?, Self::put),
            "UpdateSecretVersionStage" => self.change(&mut store, input(body)?, Self::move_stage),
            "DeleteSecret" => self.change(&mut store, input(body)?, Self::delete),
            _ => Err(refused(
                "UnknownOperationException",
                format!("The local Secrets Manager does not know {operation}."),
            )),
        }
    }

    /// Reads a secret as it was `ago`, because Secrets Manager does not return a change everywhere at once. A secret that did
    /// not exist then is read as it is.
    pub(crate) fn call_as_of(
        &self,
        operation: &str,
        body: &[u8],
        ago: Duration,
    ) -> Result<Value, Refusal> {
        if operation == "GetSecretValue" {
            let request: Get = input(body)?;
            let at = Instant::now().checked_sub(ago);
            let past = lock(&self.past);
            // The state at that time is the one before the first later change.
            let then = past.iter().find(|(changed, _)| Some(*changed) > at);
            if let Some((_, store)) = then
                && store.contains_key(&request.secret_id)
                && let Ok(answer) = self.get(store, &request)
            {
                return Ok(answer);
            }
        }
        self.call(operation, body)
    }

    /// Applies a change. The file is replaced before the change is visible, and nothing changes if either step fails.
    fn change<I>(
        &self,
        store: &mut SecretStore,
        input: I,
        apply: impl FnOnce(&Self, &mut SecretStore, I) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let mut changed = store.clone();
        let answer = apply(self, &mut changed, input)?;
        if let Some(file) = &self.file {
            let written = serde_json::to_vec_pretty(&changed)
                .map_err(std::io::Error::other)
                .and_then(|content| atomic_file::replace(file, &content));
            written.map_err(|error| {
                refused(
                    "InternalServiceError",
                    format!("The secrets file could not be written: {error}"),
                )
            })?;
        }
        let before = std::mem::replace(store, changed);
        let mut past = lock(&self.past);
        // `call_as_of` reads no further back.
        past.retain(|(changed, _)| changed.elapsed() < PAST);
        past.push((Instant::now(), before));
        Ok(answer)
    }

    fn create(&self, store: &mut SecretStore, request: Create) -> Result<Value, Refusal> {
        match store.get(&request.name) {
            Some(secret) if secret.deleted.is_some() => {
                return Err(refused(
                    "InvalidRequestException",
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                ));
            }
            Some(secret) => {
                let repeated = secret.versions.iter().find(|version| {
                    Some(&version.id) == request.client_request_token.as_ref()
                        && version.string == request.secret_string
                });
                return match repeated {
                    Some(version) => Ok(json!({
                        "ARN": secret.arn, "Name": request.name, "VersionId": version.id,
                    })),
                    None => Err(refused(
                        "ResourceExistsException",
                        format!(
                            "The operation failed because the secret {} already exists.",
                            request.name
                        ),
                    )),
                };
            }
            None => {}
        }
        let suffix: String = random_id().chars().take(6).collect();
        let mut secret = Secret {
            arn: format!(
                "arn:aws:secretsmanager:us-east-1:000000000000:secret:{}-{suffix}",
                request.name
            ),
            created: self.now(),
            deleted: None,
            versions: Vec::new(),
        };
        let version = self.add(
            &mut secret,
            request.client_request_token,
            request.secret_string,
            vec![CURRENT.to_owned()],
        )?;
        let answer = json!({"ARN": secret.arn, "Name": request.name, "VersionId": version});
        store.insert(request.name, secret);
        Ok(answer)
    }

    fn get(&self, store: &SecretStore, request: &Get) -> Result<Value, Refusal> {
        let secret = find(store, &request.secret_id)?;
        let stage = request.version_stage.as_deref();
        let version = match (&request.version_id, stage) {
            (Some(id), stage) => secret
                .versions
                .iter()
                .find(|version| version.id == *id && stage.is_none_or(|stage| version.has(stage)))
                .ok_or_else(|| missing_value(&format!("VersionId: {id}")))?,
            (None, stage) => {
                let stage = stage.unwrap_or(CURRENT);
                secret
                    .versions
                    .iter()
                    .find(|version| version.has(stage))
                    .ok_or_else(|| missing_value(&format!("staging label: {stage}")))?
            }
        };
        Ok(json!({
            "ARN": secret.arn,
            "Name": request.secret_id,
            "VersionId": version.id,
            "VersionStages": version.stages,
            "CreatedDate": version.created,
            "SecretString": version.string,
        }))
    }

    fn put(&self, store: &mut SecretStore, request: Put) -> Result<Value, Refusal> {
        let secret = find_mut(store, &request.secret_id)?;
        let stages = request
            .version_stages
            .unwrap_or_else(|| vec![CURRENT.to_owned()]);
        if stages.is_empty() || stages.len() > 20 {
            return Err(refused(
                "InvalidParameterException",
                "VersionStages must have between 1 and 20 members.",
            ));
        }
        let version = self.add(
            secret,
            request.client_request_token,
            request.secret_string,
            stages,
        )?;
        let stages = secret
            .versions
            .iter()
            .find(|one| one.id == version)
            .map(|one| one.stages.clone());
        Ok(json!({
            "ARN": secret.arn, "Name": request.secret_id, "VersionId": version, "VersionStages": stages,
        }))
    }

    fn move_stage(&self, store: &mut SecretStore, request: MoveStage) -> Result<Value, Refusal> {
        let secret = find_mut(store, &request.secret_id)?;
        let stage = request.version_stage.as_str();
        let holder = secret
            .versions
            .iter()
            .find(|version| version.has(stage))
            .map(|version| version.id.clone());
        let known = |id: &str| secret.versions.iter().any(|version| version.id == id);
        for id in [&request.remove_from_version_id, &request.move_to_version_id]
            .into_iter()
            .flatten()
        {
            if !known(id) {
                return Err(missing_value(&format!("VersionId: {id}")));
            }
        }
        // "If the label is attached and you either do not specify this parameter, or the version ID does not match, then
        // the operation fails."
        let elsewhere = holder.is_some() && holder != request.move_to_version_id;
        match &request.remove_from_version_id {
            None if elsewhere => {
                return Err(refused(
                    "InvalidParameterException",
                    format!(
                        "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version {}, so you must explicitly reference that version in RemoveFromVersionId.",
                        holder.unwrap_or_default()
                    ),
                ));
            }
            Some(_) if holder != request.remove_from_version_id => {
                return Err(refused(
                    "InvalidParameterException",
                    format!(
                        "When you move staging label {stage}, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label {stage}."
                    ),
                ));
            }
            _ => {}
        }
        match &request.move_to_version_id {
            Some(to) => label(secret, to, stage),
            None if stage == CURRENT => {
                return Err(refused(
                    "InvalidParameterException",
                    format!(
                        "You can only move staging label {CURRENT} to a different secret version. It can't be completely removed."
                    ),
                ));
            }
            None => {
                for version in &mut secret.versions {
                    version.stages.retain(|held| held != stage);
                }
            }
        }
        Ok(json!({"ARN": secret.arn, "Name": request.secret_id}))
    }

    fn delete(&self, store: &mut SecretStore, request: Delete) -> Result<Value, Refusal> {
        let (now, name) = (self.now(), request.secret_id);
        if request.force_delete_without_recovery {
            let secret = store.remove(&name).ok_or_else(missing_secret)?;
            return Ok(json!({"ARN": secret.arn, "Name": name, "DeletionDate": now}));
        }
        let secret = find_mut(store, &name)?;
        secret.deleted = Some(now);
        let deletion = now + RECOVERY_DAYS * DAY;
        Ok(json!({"ARN": secret.arn, "Name": name, "DeletionDate": deletion}))
    }

    /// Adds a version with the token of the request as its id, so that a repeated request has no effect.
    fn add(
        &self,
        secret: &mut Secret,
        token: Option<String>,
        string: String,
        mut stages: Vec<String>,
    ) -> Result<String, Refusal> {
        let id = token.unwrap_or_else(random_id);
        if let Some(version) = secret.versions.iter().find(|version| version.id == id) {
            if version.string == string {
                return Ok(id);
            }
            return Err(refused(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {}.",
                    secret.arn
                ),
            ));
        }
        // The first version is always current.
        if secret.versions.is_empty() && !stages.iter().any(|stage| stage == CURRENT) {
            stages.push(CURRENT.to_owned());
        }
        secret.versions.push(Version {
            id: id.clone(),
            created: self.now(),
            string,
            stages: Vec::new(),
        });
        for stage in stages {
            label(secret, &id, &stage);
        }
        while secret.versions.len() > VERSIONS {
            let Some(unlabelled) = secret.versions.iter().position(|version| {
                version.stages.is_empty() && self.now() - version.created >= DAY
            }) else {
                break;
            };
            secret.versions.remove(unlabelled);
        }
        Ok(id)
    }

    fn now(&self) -> f64 {
        (self.clock)().as_millisecond() as f64 / 1000.0
    }
}

/// Moves a label to a version. If the label is [`CURRENT`], the version that had it gets [`PREVIOUS`].
fn label(secret: &mut Secret, to: &str, stage: &str) {
    let holder = secret
        .versions
        .iter()
        .find(|version| version.has(stage))
        .map(|version| version.id.clone());
    if holder.as_deref() == Some(to) {
        return;
    }
    for version in &mut secret.versions {
        version.stages.retain(|held| held != stage);
        if version.id == to {
            version.stages.push(stage.to_owned());
        }
    }
    if let (CURRENT, Some(before)) = (stage, holder) {
        label(secret, &before, PREVIOUS);
    }
}

impl Version {
    fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|held| held == stage)
    }
}

fn input<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refused("ValidationException", error.to_string()))
}

fn missing_secret() -> Refusal {
    refused(
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret.",
    )
}

/// Returns a secret by its name. AWS accepts its ARN as well, which nothing here uses.
fn find<'a>(store: &'a SecretStore, name: &str) -> Result<&'a Secret, Refusal> {
    let secret = store.get(name).ok_or_else(missing_secret)?;
    check_not_deleted(secret)?;
    Ok(secret)
}

fn find_mut<'a>(store: &'a mut SecretStore, name: &str) -> Result<&'a mut Secret, Refusal> {
    let secret = store.get_mut(name).ok_or_else(missing_secret)?;
    check_not_deleted(secret)?;
    Ok(secret)
}

fn check_not_deleted(secret: &Secret) -> Result<(), Refusal> {
    match secret.deleted {
        None => Ok(()),
        Some(_) => Err(refused(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        )),
    }
}

fn missing_value(what: &str) -> Refusal {
    refused(
        "ResourceNotFoundException",
        format!("Secrets Manager can't find the specified secret value for {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn secrets() -> Secrets {
        Secrets::in_memory(Arc::new(|| {
            jiff::Timestamp::from_second(1_700_000_000).unwrap()
        }))
    }

    fn call(secrets: &Secrets, operation: &str, input: Value) -> Result<Value, Refusal> {
        secrets.call(operation, input.to_string().as_bytes())
    }

    fn staged(secrets: &Secrets, stage: &str) -> Result<String, &'static str> {
        let input = json!({"SecretId": "s", "VersionStage": stage});
        call(secrets, "GetSecretValue", input)
            .map(|answer| answer["SecretString"].as_str().unwrap().to_owned())
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_rotation_keeps_only_the_previous_version() {
        let secrets = secrets();
        let put = |value: &str| {
            call(
                &secrets,
                "PutSecretValue",
                json!({"SecretId": "s", "SecretString": value}),
            )
        };
        assert_eq!(put("no").unwrap_err().code, "ResourceNotFoundException");
        let made = call(
            &secrets,
            "CreateSecret",
            json!({"Name": "s", "SecretString": "one"}),
        );
        let first = made.unwrap()["VersionId"].as_str().unwrap().to_owned();
        assert_eq!(staged(&secrets, CURRENT), Ok("one".to_owned()));
        assert_eq!(staged(&secrets, PREVIOUS), Err("ResourceNotFoundException"));
        put("two").unwrap();
        assert_eq!(staged(&secrets, CURRENT), Ok("two".to_owned()));
        assert_eq!(staged(&secrets, PREVIOUS), Ok("one".to_owned()));
        put("three").unwrap();
        assert_eq!(staged(&secrets, PREVIOUS), Ok("two".to_owned()));
        let old = call(
            &secrets,
            "GetSecretValue",
            json!({"SecretId": "s", "VersionId": first}),
        );
        let old = old.unwrap();
        assert_eq!(old["SecretString"], "one");
        assert_eq!(old["VersionStages"], json!([]));
        assert_eq!(old["CreatedDate"], json!(1_700_000_000.0));
    }

    #[test]
    fn moving_the_label_makes_a_pending_version_current_and_the_old_one_previous() {
        let secrets = secrets();
        let made = call(
            &secrets,
            "CreateSecret",
            json!({"Name": "s", "SecretString": "one"}),
        );
        let one = made.unwrap()["VersionId"].clone();
        let put = json!({"SecretId": "s", "SecretString": "two", "VersionStages": ["AWSPENDING"]});
        let two = call(&secrets, "PutSecretValue", put).unwrap()["VersionId"].clone();
        assert_eq!(staged(&secrets, CURRENT), Ok("one".to_owned()));
        let to_two = json!({"SecretId": "s", "VersionStage": CURRENT, "MoveToVersionId": two});
        let refusal = call(&secrets, "UpdateSecretVersionStage", to_two).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterException");
        let to_two = json!({"SecretId": "s", "VersionStage": CURRENT, "MoveToVersionId": two,
            "RemoveFromVersionId": one});
        call(&secrets, "UpdateSecretVersionStage", to_two).unwrap();
        assert_eq!(staged(&secrets, CURRENT), Ok("two".to_owned()));
        assert_eq!(staged(&secrets, PREVIOUS), Ok("one".to_owned()));
        let end = json!({"SecretId": "s", "VersionStage": PREVIOUS, "RemoveFromVersionId": one});
        call(&secrets, "UpdateSecretVersionStage", end).unwrap();
        assert_eq!(staged(&secrets, PREVIOUS), Err("ResourceNotFoundException"));
        let remove = json!({"SecretId": "s", "VersionStage": CURRENT, "RemoveFromVersionId": two});
        let refusal = call(&secrets, "UpdateSecretVersionStage", remove).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterException");
    }

    /// Moving a label is a compare-and-set. Of two moves from the same version the second is refused, and so is a repetition of
    /// the first.
    #[test]
    fn a_label_moves_only_from_the_version_that_has_it() {
        let secrets = secrets();
        let made = json!({"Name": "s", "SecretString": "one", "ClientRequestToken": "one"});
        call(&secrets, "CreateSecret", made).unwrap();
        for id in ["two", "three"] {
            let put = json!({"SecretId": "s", "SecretString": id, "ClientRequestToken": id,
                "VersionStages": ["AWSPENDING"]});
            call(&secrets, "PutSecretValue", put).unwrap();
        }
        // A label is attached to one version. The other version still exists without a label.
        assert_eq!(staged(&secrets, "AWSPENDING"), Ok("three".to_owned()));
        let to = |id: &str| {
            let input = json!({"SecretId": "s", "VersionStage": CURRENT, "MoveToVersionId": id,
                "RemoveFromVersionId": "one"});
            call(&secrets, "UpdateSecretVersionStage", input).map_err(|refusal| refusal.code)
        };
        to("two").unwrap();
        assert_eq!(to("three"), Err("InvalidParameterException"));
        assert_eq!(to("two"), Err("InvalidParameterException"));
        assert_eq!(staged(&secrets, CURRENT), Ok("two".to_owned()));
        assert_eq!(staged(&secrets, PREVIOUS), Ok("one".to_owned()));
        // A repeated put has no effect. It does not move the label back.
        let put = json!({"SecretId": "s", "SecretString": "two", "ClientRequestToken": "two",
            "VersionStages": ["AWSPENDING"]});
        call(&secrets, "PutSecretValue", put).unwrap();
        assert_eq!(staged(&secrets, "AWSPENDING"), Ok("three".to_owned()));
    }

    #[test]
    fn a_read_of_the_past_returns_the_value_before_a_change() {
        let secrets = secrets();
        let made = json!({"Name": "s", "SecretString": "one"});
        call(&secrets, "CreateSecret", made).unwrap();
        let put = json!({"SecretId": "s", "SecretString": "two"});
        std::thread::sleep(Duration::from_millis(2));
        let between = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        call(&secrets, "PutSecretValue", put).unwrap();
        let read = json!({"SecretId": "s"}).to_string();
        let then = secrets.call_as_of("GetSecretValue", read.as_bytes(), between.elapsed());
        assert_eq!(then.unwrap()["SecretString"], "one");
        let now = secrets.call_as_of("GetSecretValue", read.as_bytes(), Duration::ZERO);
        assert_eq!(now.unwrap()["SecretString"], "two");
    }

    #[test]
    fn a_repeated_request_has_no_effect_and_a_taken_name_is_refused() {
        let secrets = secrets();
        let create = |value: &str| {
            call(
                &secrets,
                "CreateSecret",
                json!({"Name": "s", "SecretString": value, "ClientRequestToken": "t"}),
            )
        };
        assert_eq!(create("one").unwrap(), create("one").unwrap());
        assert_eq!(create("two").unwrap_err().code, "ResourceExistsException");
        let put = json!({"SecretId": "s", "SecretString": "x", "ClientRequestToken": "t"});
        let refusal = call(&secrets, "PutSecretValue", put).unwrap_err();
        assert_eq!(refusal.code, "ResourceExistsException");
    }

    #[test]
    fn a_deleted_secret_is_refused_and_a_removed_one_is_unknown() {
        let secrets = secrets();
        call(
            &secrets,
            "CreateSecret",
            json!({"Name": "s", "SecretString": "one"}),
        )
        .unwrap();
        call(&secrets, "DeleteSecret", json!({"SecretId": "s"})).unwrap();
        assert_eq!(staged(&secrets, CURRENT), Err("InvalidRequestException"));
        let again = json!({"Name": "s", "SecretString": "two"});
        let refusal = call(&secrets, "CreateSecret", again).unwrap_err();
        assert_eq!(refusal.code, "InvalidRequestException");
        let now = json!({"SecretId": "s", "ForceDeleteWithoutRecovery": true});
        call(&secrets, "DeleteSecret", now).unwrap();
        assert_eq!(staged(&secrets, CURRENT), Err("ResourceNotFoundException"));
    }

    #[test]
    fn secrets_persist_in_a_file_that_only_its_owner_can_read() {
        let directory = crate::tests::directory();
        let file = directory.path().join("secrets.json");
        let clock = secrets().clock;
        let first = Secrets::open(file.clone(), clock.clone()).unwrap();
        call(
            &first,
            "CreateSecret",
            json!({"Name": "s", "SecretString": "one"}),
        )
        .unwrap();
        drop(first);
        let again = Secrets::open(file.clone(), clock.clone()).unwrap();
        assert_eq!(staged(&again, CURRENT), Ok("one".to_owned()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&file, "not json").unwrap();
        assert!(Secrets::open(file, clock).is_err());
    }
}
