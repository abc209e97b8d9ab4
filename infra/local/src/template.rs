//! The resources of `template.yaml` that run locally: routes, functions, the table, secrets, and the mappings of the stream and of
//! the bus to functions.
//!
//! This reads the deployed file, so that a wrong route or filter in it fails in a test. Values that only CloudFormation knows have
//! local names.

use std::collections::BTreeMap;
use std::time::Duration;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::routes::{Route, Routes};

/// The template of this repository, compiled into the binary.
const DEPLOYED: &str = include_str!("../../../template.yaml");

/// The parts of a SAM template that run locally.
#[derive(Clone, Debug)]
pub struct Template {
    /// The functions by their logical ids.
    pub functions: BTreeMap<String, Function>,
    /// The routes of the HTTP API.
    pub routes: Routes,
    /// The table.
    pub table: Table,
    /// The mappings of the stream of the table to functions.
    pub mappings: Vec<Mapping>,
    /// The mappings of the bus to functions, each through a queue.
    pub queues: Vec<QueueMapping>,
    /// The generated secrets.
    pub secrets: Vec<GeneratedSecret>,
}

/// One Lambda function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The Cargo package of the function.
    pub package: String,
    /// The environment, with references resolved to local names.
    pub environment: BTreeMap<String, String>,
    /// Time limit of an invocation.
    pub timeout: Duration,
}

/// The table, in the form of `CreateTable`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// The local name of the table.
    #[serde(skip)]
    pub name: String,
    /// The attributes of keys.
    pub attribute_definitions: Vec<Attribute>,
    /// The primary key of the table.
    pub key_schema: Vec<Key>,
    /// The indexes.
    #[serde(default)]
    pub global_secondary_indexes: Vec<Index>,
    /// The stream, if it has one.
    pub stream_specification: Option<Stream>,
    /// The time to live, if it has one.
    pub time_to_live_specification: Option<TimeToLive>,
}

/// The name and type of a key attribute.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// Its name.
    pub attribute_name: String,
    /// `S`, `N` or `B`.
    pub attribute_type: String,
}

/// The role of an attribute in a key.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Key {
    /// Its name.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Index {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<Key>,
    /// The attributes in the index.
    pub projection: Projection,
}

/// The attributes of an item in an index.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection_type: String,
    /// The attributes of `INCLUDE`.
    #[serde(default)]
    pub non_key_attributes: Vec<String>,
}

/// The stream of a table.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Stream {
    /// The images of the item in a record.
    pub stream_view_type: String,
}

/// The time to live of a table.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TimeToLive {
    /// The attribute that holds the time.
    pub attribute_name: String,
    /// Whether time to live is enabled.
    pub enabled: bool,
}

/// An event source mapping from the stream of the table to a function, with the defaults of Lambda.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The logical id of the function.
    pub function: String,
    /// Maximum number of records in a call.
    pub batch_size: usize,
    /// The patterns of which a record must match one. Without patterns, every record matches.
    pub patterns: Vec<String>,
    /// Maximum number of retries of a batch. `None` retries until the record expires.
    pub retries: Option<u32>,
    /// Whether a failed batch is split into halves.
    pub bisect: bool,
    /// Whether the response of the function names the records that failed.
    pub reports_failures: bool,
}

/// A rule of the bus, its queue, and the mapping from the queue to a function.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueMapping {
    /// The name of the queue.
    pub queue: String,
    /// The logical id of the function.
    pub function: String,
    /// Maximum number of messages in a call.
    pub batch_size: usize,
    /// The patterns of the rules, of which an event must match one.
    pub patterns: Vec<String>,
    /// Number of deliveries of a message before it is a dead letter.
    pub receives: u32,
}

/// A secret with a generated part (`GenerateSecretString`).
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedSecret {
    /// Its name.
    pub name: String,
    /// The other members of the secret.
    pub content: Map<String, Value>,
    /// The generated member.
    pub key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MappingProperties {
    batch_size: Option<usize>,
    filter_criteria: Option<FilterCriteria>,
    maximum_retry_attempts: Option<i64>,
    #[serde(default)]
    bisect_batch_on_function_error: bool,
    #[serde(default)]
    function_response_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    pattern: String,
}

impl Template {
    /// Returns the template that is compiled in.
    ///
    /// # Errors
    ///
    /// See [`Template::read`].
    pub fn deployed() -> Result<Template, Error> {
        Template::read(DEPLOYED)
    }

    /// Parses a SAM template.
    ///
    /// # Errors
    ///
    /// Returns an error that names what cannot be run locally.
    pub fn read(text: &str) -> Result<Template, Error> {
        let mut documents = Yaml::load_from_str(text)
            .map_err(|error| wrong(format!("is not YAML: {error}")))?
            .into_iter();
        let root = documents
            .next()
            .map(|yaml| plain(&yaml))
            .ok_or_else(|| wrong("is empty"))?;
        let reader = Reader::new(&root);
        let mut functions = BTreeMap::new();
        let mut routes = Vec::new();
        let mut mappings = Vec::new();
        let mut tables = Vec::new();
        let mut queues = Vec::new();
        let mut secrets = Vec::new();
        for (id, resource) in reader.resources() {
            let properties = resource.get("Properties").unwrap_or(&Value::Null);
            match text_at(resource, "Type") {
                "AWS::Serverless::Function" => {
                    functions.insert(id.clone(), reader.function(id, resource, properties)?);
                    for event in entries(properties.get("Events")) {
                        let source = event.get("Properties").unwrap_or(&Value::Null);
                        match text_at(event, "Type") {
                            "HttpApi" => {
                                let (path, method) =
                                    (text_at(source, "Path"), text_at(source, "Method"));
                                routes.push(Route::new(id, method, path)?);
                            }
                            "DynamoDB" => mappings.push(reader.mapping(id.clone(), source)?),
                            "SQS" => queues.push(reader.queue(id.clone(), source)?),
                            _ => {}
                        }
                    }
                }
                "AWS::SecretsManager::Secret" => secrets.extend(reader.secret(id, properties)),
                "AWS::DynamoDB::Table" => tables.push(reader.table(id, properties)?),
                "AWS::Lambda::EventSourceMapping" => {
                    let function = properties
                        .get("FunctionName")
                        .and_then(referred)
                        .ok_or_else(|| wrong(format!("names no function in {id}")))?;
                    mappings.push(reader.mapping(function, properties)?);
                }
                _ => {}
            }
        }
        let table = only(tables, "table")?;
        if mappings.is_empty() {
            return Err(wrong("has no mapping of the table's stream"));
        }
        Ok(Template {
            functions,
            routes: Routes::new(routes),
            table,
            mappings,
            queues,
            secrets,
        })
    }

    /// Returns a variable of the environment of a function.
    ///
    /// # Errors
    ///
    /// Returns an error if the function or the variable is missing.
    pub fn environment(&self, function: &str, name: &str) -> Result<&str, Error> {
        self.functions
            .get(function)
            .ok_or_else(|| wrong(format!("has no {function}")))?
            .environment
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| wrong(format!("gives {function} no {name}")))
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::Template(what.into())
}

fn only<T>(mut found: Vec<T>, what: &str) -> Result<T, Error> {
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(wrong(format!("has no {what}"))),
        (Some(_), false) => Err(wrong(format!("has more than one {what}"))),
    }
}

fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values)
}

/// Returns the logical id in a `Ref` or `Fn::GetAtt`.
fn referred(value: &Value) -> Option<String> {
    let name = match (value.get("Ref"), value.get("Fn::GetAtt")) {
        (Some(Value::String(name)), _) => name.as_str(),
        (_, Some(Value::Array(parts))) => parts.first()?.as_str()?,
        (_, Some(Value::String(path))) => path.split('.').next()?,
        _ => return None,
    };
    Some(name.to_owned())
}

/// Converts YAML to JSON, with the short tags of CloudFormation in their long form: `!Ref Table` becomes `{"Ref": "Table"}`.
fn plain(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(pairs) => pairs
            .iter()
            .map(|(key, value)| {
                let key = match plain(key) {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                (key, plain(value))
            })
            .collect(),
        Yaml::Tagged(tag, value) => match tag.suffix.as_str() {
            name @ ("Ref" | "Condition") => json!({name: plain(value)}),
            name => json!({format!("Fn::{name}"): plain(value)}),
        },
        Yaml::Representation(text, ..) => json!(text),
        Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

/// Resolves references while the template is read.
struct Reader<'a> {
    root: &'a Value,
    globals: &'a Value,
}

impl<'a> Reader<'a> {
    fn new(root: &'a Value) -> Self {
        let globals = root.pointer("/Globals/Function").unwrap_or(&Value::Null);
        Reader { root, globals }
    }

    fn resources(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.root
            .get("Resources")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    }

    /// Returns a value as text, with references resolved to local names.
    fn text(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Object(object) => match object.iter().next()? {
                (key, Value::String(name)) if key == "Ref" => self.named(name),
                (key, Value::String(pattern)) if key == "Fn::Sub" => self.substitute(pattern),
                (key, _) if key == "Fn::GetAtt" => referred(value).and_then(|id| self.named(&id)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the local name of a parameter, a resource or a pseudo parameter.
    fn named(&self, name: &str) -> Option<String> {
        let pseudo = match name {
            "AWS::StackName" => Some("rollcall"),
            "AWS::Region" => Some("us-east-1"),
            "AWS::AccountId" => Some("000000000000"),
            "AWS::Partition" => Some("aws"),
            "AWS::URLSuffix" => Some("amazonaws.com"),
            _ => None,
        };
        if let Some(value) = pseudo {
            return Some(value.to_owned());
        }
        if let Some(parameter) = self.root.get("Parameters").and_then(|all| all.get(name)) {
            return parameter.get("Default").and_then(|value| self.text(value));
        }
        let resource = self.root.get("Resources")?.get(name)?;
        let properties = resource.get("Properties").unwrap_or(&Value::Null);
        let given = ["TableName", "Name", "QueueName", "FunctionName"]
            .into_iter()
            .find_map(|key| properties.get(key))
            .and_then(|value| self.text(value));
        // As in CloudFormation, the name consists of those of the stack and of the resource.
        Some(given.unwrap_or_else(|| format!("rollcall-{name}")))
    }

    fn substitute(&self, pattern: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}')?;
            text.push_str(before);
            match name.strip_prefix('!') {
                Some(literal) => {
                    text.push_str("${");
                    text.push_str(literal);
                    text.push('}');
                }
                None => {
                    let id = name.split_once('.').map_or(name, |(id, _)| id);
                    text.push_str(&self.named(id)?);
                }
            }
            rest = after;
        }
        text.push_str(rest);
        Some(text)
    }

    fn function(&self, id: &str, resource: &Value, properties: &Value) -> Result<Function, Error> {
        // With cargo-lambda, the name of the binary determines the package. Otherwise the folder does.
        let binary = resource
            .pointer("/Metadata/BuildProperties/Binary")
            .and_then(Value::as_str);
        let folder = properties
            .get("CodeUri")
            .or_else(|| self.globals.get("CodeUri"))
            .and_then(Value::as_str)
            .and_then(|path| path.trim_end_matches('/').rsplit('/').next())
            .filter(|name| !matches!(*name, "" | "." | ".."));
        let package = binary
            .or(folder)
            .ok_or_else(|| wrong(format!("does not say which package {id} is built from")))?;
        let mut environment = BTreeMap::new();
        for source in [self.globals, properties] {
            let variables = source
                .pointer("/Environment/Variables")
                .and_then(Value::as_object);
            for (name, value) in variables.into_iter().flatten() {
                // Values that only a deployment has, such as the URL of the API, are left out.
                if let Some(value) = self.text(value) {
                    environment.insert(name.clone(), value);
                }
            }
        }
        let timeout = properties.get("Timeout").or(self.globals.get("Timeout"));
        let timeout = timeout.map(|value| self.resolved(value));
        Ok(Function {
            package: package.to_owned(),
            environment,
            // The default of Lambda.
            timeout: Duration::from_secs(timeout.and_then(|value| value.as_u64()).unwrap_or(3)),
        })
    }

    fn table(&self, id: &str, properties: &Value) -> Result<Table, Error> {
        let mut table: Table = serde_json::from_value(properties.clone()).map_err(|error| {
            wrong(format!(
                "describes {id} in a way that is not understood: {error}"
            ))
        })?;
        table.name = self.named(id).unwrap_or_else(|| id.to_owned());
        Ok(table)
    }

    fn mapping(&self, function: String, source: &Value) -> Result<Mapping, Error> {
        let known = [
            "BatchSize",
            "FilterCriteria",
            "MaximumRetryAttempts",
            "BisectBatchOnFunctionError",
            "FunctionResponseTypes",
        ];
        let properties: Map<String, Value> = known
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), self.resolved(source.get(key)?))))
            .collect();
        let read: MappingProperties =
            serde_json::from_value(Value::Object(properties)).map_err(|error| {
                wrong(format!(
                    "maps the stream to {function} in a way that is not understood: {error}"
                ))
            })?;
        let patterns = read
            .filter_criteria
            .map(|criteria| criteria.filters)
            .unwrap_or_default();
        Ok(Mapping {
            function,
            batch_size: read.batch_size.unwrap_or(100).max(1),
            patterns: patterns.into_iter().map(|filter| filter.pattern).collect(),
            retries: read
                .maximum_retry_attempts
                .and_then(|retries| u32::try_from(retries).ok()),
            bisect: read.bisect_batch_on_function_error,
            reports_failures: read
                .function_response_types
                .iter()
                .any(|kind| kind == "ReportBatchItemFailures"),
        })
    }

    fn queue(&self, function: String, source: &Value) -> Result<QueueMapping, Error> {
        let id = source
            .get("Queue")
            .and_then(referred)
            .ok_or_else(|| wrong(format!("does not say which queue {function} reads")))?;
        let fills = |rule: &Value| {
            let targets = rule
                .pointer("/Properties/Targets")
                .and_then(Value::as_array);
            let mut targets = targets.into_iter().flatten();
            text_at(rule, "Type") == "AWS::Events::Rule"
                && targets.any(|target| target.get("Arn").and_then(referred).as_ref() == Some(&id))
        };
        let patterns: Vec<String> = self
            .resources()
            .filter(|(_, rule)| fills(rule))
            .filter_map(|(_, rule)| rule.pointer("/Properties/EventPattern"))
            .map(|pattern| self.resolved(pattern).to_string())
            .collect();
        if patterns.is_empty() {
            return Err(wrong(format!("has no rule that fills {id}")));
        }
        let number = |value: Option<&Value>| value.map(|value| self.resolved(value))?.as_u64();
        let receives = self.root.pointer(&format!(
            "/Resources/{id}/Properties/RedrivePolicy/maxReceiveCount"
        ));
        let receives = number(receives)
            .and_then(|receives| u32::try_from(receives).ok())
            .ok_or_else(|| wrong(format!("does not say when {id} gives up on a message")))?;
        let reports = source.get("FunctionResponseTypes");
        if reports.is_none_or(|types| !types.to_string().contains("ReportBatchItemFailures")) {
            return Err(wrong(format!("lets {function} report no failures")));
        }
        let batch_size = number(source.get("BatchSize")).unwrap_or(10);
        Ok(QueueMapping {
            queue: self.named(&id).unwrap_or(id),
            function,
            batch_size: usize::try_from(batch_size).unwrap_or(10).max(1),
            patterns,
            receives,
        })
    }

    fn secret(&self, id: &str, properties: &Value) -> Option<GeneratedSecret> {
        let generate = properties.get("GenerateSecretString")?;
        let content = self.text(generate.get("SecretStringTemplate")?)?;
        Some(GeneratedSecret {
            name: self.named(id)?,
            content: serde_json::from_str(&content).ok()?,
            key: self.text(generate.get("GenerateStringKey")?)?,
        })
    }

    /// Resolves references at any depth. Numbers and booleans of parameters keep their types.
    fn resolved(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.resolved(item)).collect(),
            Value::Object(object) => {
                let intrinsic = object
                    .keys()
                    .any(|key| key == "Ref" || key.starts_with("Fn::"));
                match intrinsic.then(|| self.text(value)).flatten() {
                    Some(text) => serde_json::from_str::<Value>(&text)
                        .ok()
                        .filter(|value| value.is_number() || value.is_boolean())
                        .unwrap_or(Value::String(text)),
                    None => object
                        .iter()
                        .map(|(key, value)| (key.clone(), self.resolved(value)))
                        .collect(),
                }
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const EXAMPLE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Retries: { Type: Number, Default: 5 }
  Prefix: { Type: String, Default: dir }
Globals:
  Function:
    Environment: { Variables: { TABLE_NAME: !Ref Table, URL: !Sub "https://${Api}.example" } }
Resources:
  Api: { Type: AWS::Serverless::HttpApi }
  Bus: { Type: AWS::Events::EventBus, Properties: { Name: !Sub "${AWS::StackName}-events" } }
  UsersFunction:
    Type: AWS::Serverless::Function
    Metadata: { BuildMethod: rust-cargolambda, BuildProperties: { Binary: users } }
    Properties:
      CodeUri: .
      Environment: { Variables: { SECRET_PREFIX: !Sub "${AWS::StackName}/${Prefix}/${!x}/" } }
      Events:
        One: { Type: HttpApi, Properties: { Path: "/v2/{d}/Users", Method: ANY } }
        All: { Type: HttpApi, Properties: { Path: "/v2/{d}/Users/{proxy+}", Method: any } }
        Me: { Type: HttpApi, Properties: { Path: "/v2/{d}/Users/Me", Method: get } }
  OtherFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/discovery/
      Events:
        Rest: { Type: HttpApi }
        Wide: { Type: HttpApi, Properties: { Path: "/v2/{proxy+}", Method: ANY } }
  PublisherFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/publisher
      Environment: { Variables: { BUS_NAME: !Ref Bus } }
      Events:
        Stream:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Table.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 50
            MaximumRetryAttempts: !Ref Retries
            BisectBatchOnFunctionError: true
            FunctionResponseTypes: [ReportBatchItemFailures]
            FilterCriteria: { Filters: [{ Pattern: '{"eventName":["INSERT"]}' }] }
  Table:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - { AttributeName: PK, AttributeType: S }
        - { AttributeName: SK, AttributeType: S }
      KeySchema:
        - { AttributeName: PK, KeyType: HASH }
        - { AttributeName: SK, KeyType: RANGE }
      StreamSpecification: { StreamViewType: NEW_AND_OLD_IMAGES }
      TimeToLiveSpecification: { AttributeName: expires, Enabled: true }
      SSESpecification: { SSEEnabled: true }
"#;

    #[test]
    fn functions_table_and_mapping_are_read_with_their_references() {
        let template = Template::read(EXAMPLE).unwrap();
        assert_eq!(template.functions["UsersFunction"].package, "users");
        assert_eq!(template.functions["OtherFunction"].package, "discovery");
        let env = |function, name| template.environment(function, name).unwrap();
        assert_eq!(env("UsersFunction", "TABLE_NAME"), template.table.name);
        assert_eq!(env("UsersFunction", "SECRET_PREFIX"), "rollcall/dir/${x}/");
        assert_eq!(env("PublisherFunction", "BUS_NAME"), "rollcall-events");
        assert!(template.environment("UsersFunction", "NONE").is_err());
        let ttl = template.table.time_to_live_specification.unwrap();
        assert_eq!(ttl.attribute_name, "expires");
        let mapping = Mapping {
            function: "PublisherFunction".to_owned(),
            batch_size: 50,
            patterns: vec![r#"{"eventName":["INSERT"]}"#.to_owned()],
            retries: Some(5),
            bisect: true,
            reports_failures: true,
        };
        assert_eq!(template.mappings, [mapping]);
    }

    #[test]
    fn the_deployed_template_can_be_run() {
        let template = Template::deployed().unwrap();
        let function = |method: Method, path: &str| {
            let found = template.routes.find(&method, path).unwrap();
            template.functions[&found.route.function].package.clone()
        };
        assert_eq!(function(Method::POST, "/scim/v2/d/Users"), "users");
        assert_eq!(function(Method::PATCH, "/scim/v2/d/Users/1"), "users");
        assert_eq!(
            function(Method::GET, "/scim/v2/d/ServiceProviderConfig"),
            "discovery"
        );
        assert_eq!(function(Method::GET, "/nowhere"), "discovery");
        assert_eq!(function(Method::PATCH, "/v1/directories/d"), "admin");
        let mut mapped: Vec<&str> = template
            .mappings
            .iter()
            .map(|mapping| template.functions[&mapping.function].package.as_str())
            .collect();
        mapped.sort_unstable();
        assert_eq!(mapped, ["publisher", "sweeper"]);
        let webhooks = QueueMapping {
            queue: "rollcall-WebhooksQueue".to_owned(),
            function: "WebhooksFunction".to_owned(),
            batch_size: 10,
            patterns: vec![r#"{"source":["rollcall"]}"#.to_owned()],
            receives: 288,
        };
        assert_eq!(template.queues, [webhooks]);
        let secrets = template.secrets.iter().map(|secret| secret.name.as_str());
        assert!(secrets.eq(["rollcall/admin/first", "rollcall/webhooks"]));
        let reported = |mapping: &Mapping| mapping.reports_failures;
        assert!(template.mappings.iter().all(reported));
    }

    /// The SCIM functions can read the secrets of directories, and only the admin API can read admin keys.
    #[test]
    fn only_the_role_of_the_admin_api_can_read_admin_keys() {
        let yaml = Yaml::load_from_str(DEPLOYED).unwrap();
        let root = plain(&yaml[0]);
        let reader = Reader::new(&root);
        let mut reached = BTreeMap::new();
        for (id, resource) in reader.resources() {
            let policies = resource.pointer("/Properties/Policies");
            for policy in policies.and_then(Value::as_array).into_iter().flatten() {
                let statements = policy.pointer("/PolicyDocument/Statement");
                for statement in statements.and_then(Value::as_array).unwrap() {
                    if statement["Action"].to_string().contains("secretsmanager") {
                        let secrets = match &statement["Resource"] {
                            Value::Array(all) => all.clone(),
                            one => vec![one.clone()],
                        };
                        for secret in &secrets {
                            let secret = reader.text(secret).unwrap();
                            // What is referred to has its name here, and its ARN in the cloud.
                            let name = secret.split(":secret:").last().unwrap();
                            let of_role: &mut Vec<String> = reached.entry(id.as_str()).or_default();
                            of_role.push(name.to_owned());
                        }
                    }
                }
            }
        }
        // A secret that is not there is judged by its bare name.
        let of_directories = ["-??????", ""]
            .map(|suffix| format!("rollcall/????????-????-????-????-????????????{suffix}"));
        let scim = of_directories.to_vec();
        let webhooks = |more: &str| format!("rollcall/webhooks{more}");
        let expected = BTreeMap::from([
            ("BulkRole", scim.clone()),
            (
                "DirectoriesRole",
                of_directories
                    .iter()
                    .cloned()
                    .chain(["rollcall/admin/*".to_owned(), webhooks("-??????")])
                    .collect(),
            ),
            ("DiscoveryRole", scim.clone()),
            ("GroupsRole", scim.clone()),
            // Those of directories that are deleted, which it deletes.
            ("SweeperRole", scim.clone()),
            ("UsersRole", scim),
            ("WebhooksRole", vec![webhooks("")]),
        ]);
        assert_eq!(reached, expected);
    }

    #[test]
    fn the_error_of_an_invalid_template_names_what_is_missing() {
        for (text, reason) in [
            ("a: [", "YAML"),
            ("Resources: {}", "no table"),
            (
                "Resources: {T: {Type: 'AWS::DynamoDB::Table'}}",
                "describes T",
            ),
        ] {
            let error = Template::read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
