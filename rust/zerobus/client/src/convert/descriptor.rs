//! Descriptors: made for a schema, or checked.

use std::collections::{HashMap, HashSet};

use arrow_schema::{DataType, Field, Fields};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, MessageOptions};

use super::plan::{self, Shape};
use crate::error::ZerobusError;

/// Levels of messages below the outermost.
pub(super) const MAX_NESTING: usize = 10;
/// Bytes of a name; Unity Catalog has 255.
const MAX_NAME_BYTES: usize = 1024;
/// The service's limit on columns.
const MAX_FIELDS: usize = 2000;
const MAX_NUMBER: i32 = (1 << 29) - 1;
const MESSAGE_NAME: &str = "ZerobusMessage";

/// The descriptor of messages with the columns `fields`.
pub(super) fn generate(fields: &Fields) -> Result<DescriptorProto, ZerobusError> {
    message(MESSAGE_NAME, fields, "", 0)
}

/// A message for a table or struct; `path` is that of the struct with a dot behind it.
fn message(name: &str, columns: &Fields, path: &str, depth: usize) -> Result<DescriptorProto, ZerobusError> {
    if depth > MAX_NESTING {
        return Err(ZerobusError::configuration(format!(
            "column `{}` is nested more than {MAX_NESTING} levels deep",
            path.trim_end_matches('.')
        )));
    }
    // Fields and nested messages share one scope of names.
    let mut names: HashSet<String> = columns.iter().map(|column| column.name().clone()).collect();
    let mut made = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
    for (number, column) in (1..).zip(columns) {
        let path = format!("{path}{}", column.name());
        if matches!(plan::value_type(column.data_type()), DataType::Null) {
            continue;
        }
        let shape = plan::shape(column, &path)?;
        let (label, value) = match &shape {
            Shape::One(_) | Shape::Variant if column.is_nullable() => {
                (Label::Optional, Value::of(&shape, column, &path)?)
            }
            Shape::One(_) | Shape::Variant => (Label::Required, Value::of(&shape, column, &path)?),
            Shape::List(element) => (Label::Repeated, Value::of(&plan::shape(element, &path)?, element, &path)?),
            Shape::Map(..) => (Label::Repeated, Value::Map),
        };
        let nested = format!("{name}_{}", column.name());
        let (kind, type_name) = match value {
            Value::Scalar(kind) => (kind, None),
            Value::Message(children) => {
                let nested = unused(&mut names, &nested);
                made.nested_type.push(message(&nested, children, &format!("{path}."), depth + 1)?);
                (Type::Message, Some(nested))
            }
            Value::Map => {
                let Shape::Map(key, value) = shape else { continue };
                let entry = unused(&mut names, &format!("{}Entry", camel_case(column.name())));
                let value_name = unused(&mut names, &nested);
                let (entry, value) = map_entry(entry, value_name, (key, value), &path, depth)?;
                let type_name = entry.name.clone();
                made.nested_type.extend(value.into_iter().chain([entry]));
                (Type::Message, type_name)
            }
        };
        made.field.push(field(column.name(), number, label, kind, type_name));
    }
    Ok(made)
}

/// What stands in a field.
enum Value<'a> {
    Scalar(Type),
    Message(&'a Fields),
    Map,
}

impl<'a> Value<'a> {
    fn of(shape: &Shape<'a>, field: &'a Field, path: &str) -> Result<Self, ZerobusError> {
        match shape {
            Shape::One(DataType::Struct(children)) => Ok(Self::Message(children)),
            Shape::One(data_type) => match plan::natural_type(data_type) {
                Some(kind) => Ok(Self::Scalar(kind)),
                None => Err(plan::unsupported(path, field.data_type())),
            },
            Shape::Variant => Ok(Self::Scalar(Type::String)),
            Shape::List(_) | Shape::Map(..) => Err(plan::unsupported(path, field.data_type())),
        }
    }
}

/// The entry of a map and, where its values are structs, their message. That stands beside the entry: descriptor pools
/// refuse entries with nested messages.
fn map_entry(
    name: String,
    value_name: String,
    (key, value): (&Field, &Field),
    path: &str,
    depth: usize,
) -> Result<(DescriptorProto, Option<DescriptorProto>), ZerobusError> {
    let key_type = match Value::of(&plan::shape(key, path)?, key, path)? {
        Value::Scalar(kind) if !matches!(kind, Type::Float | Type::Double | Type::Bytes) => kind,
        _ => {
            return Err(ZerobusError::conversion(format!(
                "column `{path}`: keys of maps are integers, booleans or strings, not {}",
                key.data_type()
            )));
        }
    };
    let (value_type, type_name, message) = match Value::of(&plan::shape(value, path)?, value, path)? {
        Value::Scalar(kind) => (kind, None, None),
        Value::Message(children) => {
            let made = message(&value_name, children, &format!("{path}."), depth + 1)?;
            (Type::Message, Some(value_name), Some(made))
        }
        Value::Map => return Err(plan::unsupported(path, value.data_type())),
    };
    let entry = DescriptorProto {
        name: Some(name),
        // Always optional: pools know no other entries.
        field: vec![
            field("key", 1, Label::Optional, key_type, None),
            field("value", 2, Label::Optional, value_type, type_name),
        ],
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    };
    Ok((entry, message))
}

/// `proto3_optional` stays unset: fields of proto2 have presence without it, and runtimes refuse it outside a oneof.
fn field(name: &str, number: i32, label: Label, kind: Type, type_name: Option<String>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label as i32),
        r#type: Some(kind as i32),
        type_name,
        json_name: Some(name.to_owned()),
        ..FieldDescriptorProto::default()
    }
}

/// `name`, with a number behind it where it is taken.
fn unused(names: &mut HashSet<String>, name: &str) -> String {
    let mut chosen = name.to_owned();
    for number in 2.. {
        if names.insert(chosen.clone()) {
            break;
        }
        chosen = format!("{name}{number}");
    }
    chosen
}

/// The name that runtimes want of a map's entry begins with the field's in this form.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = true;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else {
            camel.push(if upper { letter.to_ascii_uppercase() } else { letter });
            upper = false;
        }
    }
    camel
}

/// The messages and enums of a descriptor, by full name.
pub(super) struct Types<'a> {
    root: &'a DescriptorProto,
    messages: HashMap<String, &'a DescriptorProto>,
    enums: HashMap<String, &'a EnumDescriptorProto>,
}

/// What a field holds.
#[derive(Clone)]
pub(super) enum FieldType<'a> {
    Scalar(Type),
    Enum(&'a EnumDescriptorProto),
    /// A message, with its full name.
    Message(&'a DescriptorProto, String),
}

impl<'a> Types<'a> {
    /// Checks `root` and all that is declared in it.
    pub(super) fn check(root: &'a DescriptorProto) -> Result<Self, ZerobusError> {
        let mut types = Self { root, messages: HashMap::new(), enums: HashMap::new() };
        types.declare(root, "", 0)?;
        let messages: Vec<_> = types.messages.iter().map(|(name, message)| (name.clone(), *message)).collect();
        for (scope, message) in messages {
            types.check_fields(&scope, message)?;
        }
        Ok(types)
    }

    /// Full name of the outermost message.
    pub(super) fn root_name(&self) -> &'a str {
        self.root.name()
    }

    fn declare(&mut self, message: &'a DescriptorProto, scope: &str, depth: usize) -> Result<(), ZerobusError> {
        if depth > MAX_NESTING {
            return Err(refused(scope, &format!("is nested more than {MAX_NESTING} levels deep")));
        }
        check_name(scope, "message", message.name())?;
        let full = join(scope, message.name());
        for declared in &message.enum_type {
            check_name(&full, "enum", declared.name())?;
            if self.enums.insert(join(&full, declared.name()), declared).is_some() {
                return Err(refused(&full, &format!("has two enums `{}`", declared.name())));
            }
        }
        for nested in &message.nested_type {
            self.declare(nested, &full, depth + 1)?;
        }
        match self.messages.insert(full, message) {
            Some(_) => Err(refused(scope, &format!("has two messages `{}`", message.name()))),
            None => Ok(()),
        }
    }

    fn check_fields(&self, scope: &str, message: &DescriptorProto) -> Result<(), ZerobusError> {
        if message.field.len() > MAX_FIELDS {
            return Err(refused(scope, &format!("has {} fields, more than {MAX_FIELDS}", message.field.len())));
        }
        let mut names = HashSet::new();
        let mut numbers = HashSet::new();
        for field in &message.field {
            let (name, number) = (field.name(), field.number());
            check_name(scope, "field", name)?;
            if !(1..=MAX_NUMBER).contains(&number) || (19_000..20_000).contains(&number) {
                return Err(refused(scope, &format!("gives field `{name}` the number {number}, which is not allowed")));
            }
            if !names.insert(name) {
                return Err(refused(scope, &format!("has two fields `{name}`")));
            }
            if !numbers.insert(number) {
                return Err(refused(scope, &format!("has two fields of number {number}, one is `{name}`")));
            }
            if field.label.is_some_and(|label| Label::try_from(label).is_err()) {
                return Err(refused(scope, &format!("gives field `{name}` an unknown label")));
            }
            self.field_type(scope, field)?;
        }
        Ok(())
    }

    /// What `field` of the message `scope` holds.
    pub(super) fn field_type(&self, scope: &str, field: &FieldDescriptorProto) -> Result<FieldType<'a>, ZerobusError> {
        let name = field.name();
        let kind = match field.r#type {
            Some(kind) => Some(
                Type::try_from(kind)
                    .map_err(|_| refused(scope, &format!("gives field `{name}` the unknown type {kind}")))?,
            ),
            None => None,
        };
        let named = matches!(kind, None | Some(Type::Message | Type::Enum));
        match kind {
            Some(Type::Group) => Err(refused(scope, &format!("makes field `{name}` a group"))),
            Some(kind) if !named => Ok(FieldType::Scalar(kind)),
            kind => {
                let type_name = field.type_name();
                if kind != Some(Type::Enum)
                    && let Some((full, message)) = find(&self.messages, scope, self.root.name(), type_name)
                {
                    return Ok(FieldType::Message(message, full.clone()));
                }
                if kind != Some(Type::Message)
                    && let Some((_, declared)) = find(&self.enums, scope, self.root.name(), type_name)
                {
                    return Ok(FieldType::Enum(declared));
                }
                Err(refused(scope, &format!("has no type `{type_name}`, which field `{name}` names")))
            }
        }
    }
}

/// Resolves `name` as descriptors do: a bare one from the scope outwards, one with a leading dot from the outermost
/// package, of which nothing is known.
fn find<'m, T>(declared: &'m HashMap<String, T>, scope: &str, root: &str, name: &str) -> Option<(&'m String, T)>
where
    T: Copy,
{
    let get = |name: &str| declared.get_key_value(name).map(|(full, found)| (full, *found));
    if let Some(absolute) = name.strip_prefix('.') {
        let mut rest = absolute;
        loop {
            if rest.split('.').next() == Some(root)
                && rest.split('.').nth(MAX_NESTING + 1).is_none()
                && let Some(found) = get(rest)
            {
                return Some(found);
            }
            (_, rest) = rest.split_once('.')?;
        }
    }
    let mut scope = scope;
    loop {
        if let Some(found) = get(&join(scope, name)) {
            return Some(found);
        }
        if scope.is_empty() {
            return None;
        }
        scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn check_name(scope: &str, what: &str, name: &str) -> Result<(), ZerobusError> {
    let legal = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && name.len() <= MAX_NAME_BYTES;
    if legal {
        return Ok(());
    }
    let text: String = name.chars().take(100).collect();
    Err(refused(
        scope,
        &format!(
            "has a {what} `{text}`: names are up to {MAX_NAME_BYTES} letters, digits and underscores, the first no digit"
        ),
    ))
}

fn refused(scope: &str, why: &str) -> ZerobusError {
    let scope = if scope.is_empty() { "the outermost level" } else { scope };
    ZerobusError::configuration(format!("descriptor: `{scope}` {why}"))
}
