//! A descriptor laid beside a table: which field of a record is which column, and whether that goes together.

use std::collections::BTreeSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, MessageOptions};

use crate::grpc::{Code, ErrorInfo, Status};
use crate::uc_type::{UcField, UcType};

const MAX_FIELDS: usize = 2000;
const MAX_NUMBER: i32 = 536_870_911;

/// How the records of a stream become rows of its table.
#[derive(Debug)]
pub(crate) struct MessagePlan {
    /// In the order of their numbers.
    pub(crate) fields: Vec<FieldPlan>,
    /// The columns of the table, or the fields of the struct.
    pub(crate) columns: Vec<UcField>,
    /// Of each column, whether a record must have it.
    pub(crate) required: Vec<bool>,
}

#[derive(Debug)]
pub(crate) struct FieldPlan {
    pub(crate) number: u32,
    /// The place of its column.
    pub(crate) column: usize,
    pub(crate) value: ValuePlan,
}

#[derive(Debug)]
pub(crate) enum ValuePlan {
    Scalar(Scalar),
    Message(MessagePlan),
    List(Box<Self>),
    Map(Scalar, Box<Self>),
}

/// A scalar field: how it is written and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) wire: Type,
    pub(crate) kind: UcType,
}

/// Why a descriptor does not fit.
#[derive(Debug, Default)]
pub(crate) struct Misfit {
    /// In the words of the service.
    causes: BTreeSet<&'static str>,
    /// For people.
    reasons: Vec<String>,
}

impl Misfit {
    pub(crate) fn add(&mut self, cause: &'static str, reason: String) {
        self.causes.insert(cause);
        // Two thousand reasons would not go into a header.
        if self.reasons.len() < 8 {
            self.reasons.push(reason);
        }
    }

    /// The status that says all of it.
    pub(crate) fn into_result(self) -> Result<(), Status> {
        if self.causes.is_empty() {
            return Ok(());
        }
        let causes = self.causes.into_iter().collect::<Vec<_>>().join(",");
        Err(refusal(&causes, &format!("the record schema does not fit the table: {}", self.reasons.join("; "))))
    }
}

impl MessagePlan {
    /// Lays `descriptor` beside the columns of a table.
    pub(crate) fn new(descriptor: &DescriptorProto, columns: &[UcField]) -> Result<Self, Status> {
        check(descriptor)
            .map_err(|reason| refusal("TYPE_INCOMPATIBLE", &format!("the descriptor is invalid: {reason}")))?;
        let mut misfit = Misfit::default();
        let plan = message(&[descriptor], columns, "", &mut misfit);
        misfit.into_result().map(|()| plan)
    }

    /// The field with this number.
    pub(crate) fn field(&self, number: u32) -> Option<&FieldPlan> {
        let place = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(place)
    }
}

fn refusal(causes: &str, message: &str) -> Status {
    let mut status = Status::new(Code::InvalidArgument, message);
    let metadata = [("causes", causes), ("error_code", "8001")];
    status.error_info = Some(ErrorInfo {
        reason: "SCHEMA_VALIDATION_FAILED".to_owned(),
        domain: "zerobus.databricks.com".to_owned(),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    });
    status
}

/// Checks what must hold of any message type.
fn check(descriptor: &DescriptorProto) -> Result<(), String> {
    if descriptor.field.len() > MAX_FIELDS {
        return Err(format!(
            "`{}` has {} fields; {MAX_FIELDS} are possible",
            descriptor.name(),
            descriptor.field.len()
        ));
    }
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for field in &descriptor.field {
        let (name, number) = (field.name(), field.number());
        let mut characters = name.chars();
        let is_word = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|character| character.is_ascii_alphanumeric() || character == '_');
        if !is_word {
            return Err(format!("`{name}` is no name of a field"));
        }
        if !(1..=MAX_NUMBER).contains(&number) || (19_000..20_000).contains(&number) {
            return Err(format!("`{number}` is no number of a field"));
        }
        if !names.insert(name) {
            return Err(format!("two fields are called `{name}`"));
        }
        if !taken.insert(number) {
            return Err(format!("two fields have number {number}"));
        }
    }
    descriptor.nested_type.iter().try_for_each(check)
}

/// Plans a message; `scopes` are the types it is declared in, from the outermost to its own.
fn message(scopes: &[&DescriptorProto], columns: &[UcField], path: &str, misfit: &mut Misfit) -> MessagePlan {
    let fields = scopes.last().map_or(&[][..], |descriptor| &descriptor.field);
    let mut required: Vec<bool> = columns.iter().map(|column| !column.nullable).collect();
    let mut present = vec![false; columns.len()];
    let mut plans = Vec::with_capacity(fields.len());
    for field in fields {
        let place = format!("{path}{}", field.name());
        let found = columns.iter().zip(0..).zip(&mut present).zip(&mut required);
        let Some((((column, index), present), required)) =
            found.into_iter().find(|(((column, _), _), _)| column.name == field.name())
        else {
            misfit.add("FIELD_NOT_IN_TABLE", format!("field `{place}` is no column"));
            continue;
        };
        *present = true;
        *required |= field.label() == Label::Required;
        if let Some(value) = value(scopes, field, &column.kind, &place, misfit) {
            plans.push(FieldPlan { number: field.number().cast_unsigned(), column: index, value });
        }
    }
    for (column, present) in columns.iter().zip(present) {
        if !present && !column.nullable {
            misfit.add("MISSING_REQUIRED_COLUMN", format!("column `{path}{}` has no field", column.name));
        }
    }
    plans.sort_by_key(|field| field.number);
    MessagePlan { fields: plans, columns: columns.to_vec(), required }
}

/// Plans the values of a field.
fn value(
    scopes: &[&DescriptorProto],
    field: &FieldDescriptorProto,
    kind: &UcType,
    place: &str,
    misfit: &mut Misfit,
) -> Option<ValuePlan> {
    let repeated = field.label() == Label::Repeated;
    match kind {
        UcType::Array(element) if repeated => {
            if matches!(**element, UcType::Array(_) | UcType::Map(..)) {
                misfit.add("TYPE_INCOMPATIBLE", format!("`{place}` is an array of arrays or maps"));
                return None;
            }
            single(scopes, field, element, place, misfit).map(|value| ValuePlan::List(Box::new(value)))
        }
        UcType::Map(key, value) if repeated => entries(scopes, field, (key, value), place, misfit),
        _ if !repeated => single(scopes, field, kind, place, misfit),
        _ => {
            misfit.add("TYPE_INCOMPATIBLE", format!("`{place}` is repeated, its column is no array"));
            None
        }
    }
}

fn entries(
    scopes: &[&DescriptorProto],
    field: &FieldDescriptorProto,
    (key, value): (&UcType, &UcType),
    place: &str,
    misfit: &mut Misfit,
) -> Option<ValuePlan> {
    let declared = resolve(scopes, field);
    let Some((inner, entry)) = declared.as_ref().and_then(|inner| Some((inner, *inner.last()?))) else {
        misfit.add("TYPE_INCOMPATIBLE", format!("type `{}` of `{place}` is not declared", field.type_name()));
        return None;
    };
    let is_entry = entry.options.as_ref().is_some_and(MessageOptions::map_entry);
    let of_number = |number| entry.field.iter().find(|field| field.number() == number);
    let (Some(key_field), Some(value_field), true, 2) = (of_number(1), of_number(2), is_entry, entry.field.len())
    else {
        misfit.add("TYPE_INCOMPATIBLE", format!("`{place}` is no map of Protobuf"));
        return None;
    };
    let key = single(inner, key_field, key, &format!("{place}.key"), misfit)?;
    let value = single(inner, value_field, value, &format!("{place}.value"), misfit)?;
    match key {
        ValuePlan::Scalar(key) if key_is_legal(key.wire) => Some(ValuePlan::Map(key, Box::new(value))),
        _ => {
            misfit.add("TYPE_INCOMPATIBLE", format!("the keys of `{place}` cannot be keys in Protobuf"));
            None
        }
    }
}

fn key_is_legal(wire: Type) -> bool {
    !matches!(wire, Type::Float | Type::Double | Type::Bytes | Type::Enum)
}

/// Plans a value that stands alone, be it in a list or a map.
fn single(
    scopes: &[&DescriptorProto],
    field: &FieldDescriptorProto,
    kind: &UcType,
    place: &str,
    misfit: &mut Misfit,
) -> Option<ValuePlan> {
    let wire = field.r#type();
    if let (UcType::Struct(columns), Type::Message) = (kind, wire) {
        let Some(inner) = resolve(scopes, field) else {
            misfit.add("TYPE_INCOMPATIBLE", format!("type `{}` of `{place}` is not declared", field.type_name()));
            return None;
        };
        return Some(ValuePlan::Message(message(&inner, columns, &format!("{place}."), misfit)));
    }
    if !fits(wire, kind) {
        let text = format!("`{place}` is {}, its column {kind}", wire.as_str_name());
        misfit.add("TYPE_INCOMPATIBLE", text);
        return None;
    }
    Some(ValuePlan::Scalar(Scalar { wire, kind: kind.clone() }))
}

/// Whether a column takes what a field holds. The widths must agree: the service does no arithmetic.
fn fits(wire: Type, kind: &UcType) -> bool {
    let narrow = matches!(wire, Type::Int32 | Type::Sint32 | Type::Sfixed32);
    let long = matches!(wire, Type::Int64 | Type::Sint64 | Type::Sfixed64);
    let unsigned = matches!(wire, Type::Uint32 | Type::Fixed32);
    match kind {
        UcType::Boolean => wire == Type::Bool,
        UcType::Byte | UcType::Short | UcType::Int => narrow || unsigned || wire == Type::Enum,
        UcType::Long => long || unsigned || matches!(wire, Type::Uint64 | Type::Fixed64),
        UcType::Float => wire == Type::Float,
        UcType::Double => wire == Type::Double,
        UcType::Decimal { .. } | UcType::String | UcType::Variant => wire == Type::String,
        UcType::Binary => wire == Type::Bytes,
        UcType::Date => narrow,
        UcType::Timestamp | UcType::TimestampNtz => long,
        UcType::Array(_) | UcType::Map(..) | UcType::Struct(_) => false,
    }
}

/// Finds the declaration of a field's message type, with the types around it: by bare name from the inside out, or dotted.
fn resolve<'d>(scopes: &[&'d DescriptorProto], field: &FieldDescriptorProto) -> Option<Vec<&'d DescriptorProto>> {
    let name = field.type_name();
    let segments: Vec<&str> = name.trim_start_matches('.').split('.').collect();
    for end in (1..=scopes.len()).rev() {
        let scopes = scopes.get(..end)?;
        if let Some(found) = descend(scopes, &segments) {
            return Some(found);
        }
        if let [first, rest @ ..] = &*segments
            && scopes.last()?.name() == *first
            && let Some(found) = descend(scopes, rest)
        {
            return Some(found);
        }
    }
    // A dotted name begins with the package, if there is one, and the outermost message.
    let root = scopes.get(..1)?;
    let start = segments.iter().position(|segment| root.iter().any(|root| root.name() == *segment))?;
    descend(root, segments.get(start + 1..)?)
}

fn descend<'d>(scopes: &[&'d DescriptorProto], segments: &[&str]) -> Option<Vec<&'d DescriptorProto>> {
    let mut scopes = scopes.to_vec();
    for segment in segments {
        let inner = scopes.last()?.nested_type.iter().find(|nested| nested.name() == *segment)?;
        scopes.push(inner);
    }
    Some(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, number: i32, wire: Type, label: Label, type_name: &str) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(wire.into()),
            type_name: (!type_name.is_empty()).then(|| type_name.to_owned()),
            ..FieldDescriptorProto::default()
        }
    }

    fn message(name: &str, field: Vec<FieldDescriptorProto>, nested_type: Vec<DescriptorProto>) -> DescriptorProto {
        DescriptorProto { name: Some(name.to_owned()), field, nested_type, ..DescriptorProto::default() }
    }

    fn columns(listed: &[(&str, &str, bool)]) -> Vec<UcField> {
        let column = |&(name, kind, nullable): &(&str, &str, bool)| UcField {
            name: name.to_owned(),
            kind: UcType::parse(kind).unwrap(),
            nullable,
        };
        listed.iter().map(column).collect()
    }

    fn causes(descriptor: &DescriptorProto, listed: &[(&str, &str, bool)]) -> String {
        match MessagePlan::new(descriptor, &columns(listed)) {
            Ok(_) => String::new(),
            Err(status) => status.error_info.unwrap().metadata["causes"].clone(),
        }
    }

    #[test]
    fn schemas_that_do_not_fit_are_refused_with_their_causes() {
        let plain = |wire| message("M", vec![field("a", 1, wire, Label::Optional, "")], vec![]);
        assert_eq!(causes(&plain(Type::Int64), &[("a", "BIGINT", true)]), "");
        assert_eq!(causes(&plain(Type::Int32), &[("a", "BIGINT", true)]), "TYPE_INCOMPATIBLE");
        assert_eq!(causes(&plain(Type::String), &[("a", "DECIMAL(3,1)", true), ("b", "INT", true)]), "");
        assert_eq!(causes(&plain(Type::Int32), &[("a", "DATE", true), ("b", "INT", false)]), "MISSING_REQUIRED_COLUMN");
        assert_eq!(causes(&plain(Type::Int64), &[("b", "INT", false)]), "FIELD_NOT_IN_TABLE,MISSING_REQUIRED_COLUMN");
        assert_eq!(causes(&plain(Type::Int64), &[("a", "ARRAY<BIGINT>", true)]), "TYPE_INCOMPATIBLE");
        let repeated = message("M", vec![field("a", 1, Type::Int64, Label::Repeated, "")], vec![]);
        assert_eq!(causes(&repeated, &[("a", "ARRAY<BIGINT>", true)]), "");
        assert_eq!(causes(&repeated, &[("a", "BIGINT", true)]), "TYPE_INCOMPATIBLE");
    }

    #[test]
    fn invalid_descriptors_are_refused() {
        let table: &[(&str, &str, bool)] = &[("a", "INT", true), ("b", "INT", true)];
        let int = |name: &str, number| field(name, number, Type::Int32, Label::Optional, "");
        for fields in [
            vec![int("a", 0)],
            vec![int("a", 19_500)],
            vec![int("a", 536_870_912)],
            vec![int("a", 1), int("b", 1)],
            vec![int("a", 1), int("a", 2)],
            vec![int("1a", 1)],
            vec![int("", 1)],
            (1..=2001).map(|number| int(&format!("c{number}"), number)).collect(),
        ] {
            assert!(!causes(&message("M", fields, vec![]), table).is_empty());
        }
    }

    #[test]
    fn nested_types_are_found_by_bare_and_by_dotted_names() {
        for (outer, inner) in
            [("M_s", "M_s_t"), (".M.M_s", ".M.M_s.M_s_t"), ("M.M_s", "M_s.M_s_t"), (".p.M.M_s", "M_s_t")]
        {
            let deepest = message("M_s_t", vec![field("x", 1, Type::Int32, Label::Optional, "")], vec![]);
            let middle =
                message("M_s", vec![field("t", 1, Type::Message, Label::Optional, inner)], vec![deepest.clone()]);
            let root = message("M", vec![field("s", 1, Type::Message, Label::Optional, outer)], vec![middle]);
            assert_eq!(causes(&root, &[("s", "STRUCT<t: STRUCT<x: INT>>", true)]), "", "{outer} {inner}");
        }
        let lost = message("M", vec![field("s", 1, Type::Message, Label::Optional, "Other")], vec![]);
        assert_eq!(causes(&lost, &[("s", "STRUCT<x: INT>", true)]), "TYPE_INCOMPATIBLE");
    }

    #[test]
    fn a_type_inside_itself_ends_with_the_column() {
        let root = message("M", vec![field("s", 1, Type::Message, Label::Optional, ".M")], vec![]);
        assert_eq!(causes(&root, &[("s", "STRUCT<s: STRUCT<x: INT>>", true)]), "FIELD_NOT_IN_TABLE");
    }

    #[test]
    fn maps_are_repeated_entries() {
        let key = field("key", 1, Type::String, Label::Optional, "");
        let value = field("value", 2, Type::Int32, Label::Optional, "");
        let mut entry = message("E", vec![key, value], vec![]);
        let of = |entry: &DescriptorProto| {
            message("M", vec![field("m", 1, Type::Message, Label::Repeated, "E")], vec![entry.clone()])
        };
        assert_eq!(causes(&of(&entry), &[("m", "MAP<STRING, INT>", true)]), "TYPE_INCOMPATIBLE");
        entry.options = Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        assert_eq!(causes(&of(&entry), &[("m", "MAP<STRING, INT>", true)]), "");
        assert_eq!(causes(&of(&entry), &[("m", "MAP<INT, INT>", true)]), "TYPE_INCOMPATIBLE");
    }
}
