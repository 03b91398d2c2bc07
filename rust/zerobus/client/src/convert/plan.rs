//! What becomes of each column, found out once per schema.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};

use super::descriptor::{FieldType, MAX_NESTING, Types};
use super::wire::Tag;
use crate::config::NullListElement;
use crate::error::ZerobusError;

/// How structs or rows become messages.
#[derive(Debug)]
pub(super) struct MessagePlan {
    /// In the order of the columns, some of which have none.
    pub(super) fields: Vec<FieldPlan>,
    /// Path of a required field that has no column.
    pub(super) missing: Option<Arc<str>>,
    /// Columns without a field, with their paths: they must hold nulls alone.
    pub(super) unknown: Vec<(usize, String)>,
}

/// How a column becomes a field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    /// Names of the columns from the outermost inwards, with dots.
    pub(super) path: Arc<str>,
    /// Position among the columns.
    pub(super) column: usize,
    pub(super) tag: Tag,
    /// Why a null is an error, where it is.
    pub(super) on_null: Option<&'static str>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Message(MessagePlan),
    /// Lists, and maps as lists of entries.
    List {
        element: Box<FieldPlan>,
        packed: bool,
    },
    /// Structs of `metadata` and `value`, as JSON.
    Variant,
    /// A column of type null.
    Null,
}

/// What of a value is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Bool,
    Int(Unit, Int),
    Float,
    Double,
    Bytes,
    /// The digits of a number.
    Text,
}

/// What a stored integer is multiplied or divided by (rounding down).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    One,
    Times(i64),
    Per(i64),
}

/// How an integer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Int {
    Int32,
    Int64,
    UInt32,
    UInt64,
    SInt32,
    SInt64,
    Fixed32,
    Fixed64,
    SFixed32,
    SFixed64,
    /// With its numbers, ascending.
    Enum(Arc<[i32]>),
}

/// A type, seen through dictionaries and runs.
pub(super) enum Shape<'a> {
    One(&'a DataType),
    List(&'a Field),
    Map(&'a Field, &'a Field),
    /// The type VARIANT in its binary form.
    Variant,
}

/// Name of the extension type.
const VARIANT: &str = "arrow.parquet.variant";

/// The type of the values in dictionaries and runs.
pub(super) fn value_type(mut data_type: &DataType) -> &DataType {
    loop {
        data_type = match data_type {
            DataType::Dictionary(_, values) => values,
            DataType::RunEndEncoded(_, values) => values.data_type(),
            _ => return data_type,
        }
    }
}

pub(super) fn shape<'a>(field: &'a Field, path: &str) -> Result<Shape<'a>, ZerobusError> {
    Ok(match value_type(field.data_type()) {
        DataType::Struct(children) if field.extension_type_name() == Some(VARIANT) => {
            let is_bytes = |name| {
                let child = children.iter().find(|child| child.name() == name);
                child.is_some_and(|child| natural_type(child.data_type()) == Some(Type::Bytes))
            };
            // Others have parts of their values in further children.
            if children.len() != 2 || !is_bytes("metadata") || !is_bytes("value") {
                return Err(unsupported(path, field.data_type()));
            }
            Shape::Variant
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => Shape::List(element),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(children) => match children.as_ref() {
                [key, value] => Shape::Map(key, value),
                _ => return Err(unsupported(path, field.data_type())),
            },
            _ => return Err(unsupported(path, field.data_type())),
        },
        data_type => Shape::One(data_type),
    })
}

/// The type of the field that is made for a column.
pub(super) fn natural_type(data_type: &DataType) -> Option<Type> {
    Some(match data_type {
        DataType::Boolean => Type::Bool,
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::Date32
        | DataType::Date64 => Type::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 | DataType::Timestamp(..) => Type::Int64,
        DataType::Float16 | DataType::Float32 => Type::Float,
        DataType::Float64 => Type::Double,
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::Bytes,
        _ => return None,
    })
}

pub(super) fn unsupported(path: &str, data_type: &DataType) -> ZerobusError {
    ZerobusError::conversion(format!("column `{path}` of type {data_type} has no Protobuf type"))
}

/// Plans for the messages of one descriptor.
pub(super) struct Planner<'a> {
    pub(super) types: Types<'a>,
    pub(super) null_list_element: NullListElement,
}

impl Planner<'_> {
    /// The plan of the message `descriptor` of full name `scope`.
    pub(super) fn message(
        &self,
        scope: &str,
        descriptor: &DescriptorProto,
        columns: &Fields,
        path: &str,
        depth: usize,
    ) -> Result<MessagePlan, ZerobusError> {
        if depth > MAX_NESTING {
            return Err(ZerobusError::configuration(format!(
                "column `{}` is nested more than {MAX_NESTING} levels deep",
                path.trim_end_matches('.')
            )));
        }
        let mut free: HashMap<&str, &FieldDescriptorProto> =
            descriptor.field.iter().map(|field| (field.name(), field)).collect();
        let mut plan = MessagePlan { fields: Vec::new(), missing: None, unknown: Vec::new() };
        let mut members: HashMap<i32, &str> = HashMap::new();
        for (position, column) in columns.iter().enumerate() {
            let name = column.name().as_str();
            let path = format!("{path}{name}");
            let Some(field) = free.remove(name) else {
                if columns.iter().take(position).any(|other| other.name() == name) {
                    return Err(ZerobusError::configuration(format!("column `{path}` is there twice")));
                }
                if !matches!(column.data_type(), DataType::Null) {
                    plan.unknown.push((position, path));
                }
                continue;
            };
            if let Some(oneof) = field.oneof_index
                && let Some(other) = members.insert(oneof, name)
            {
                return Err(ZerobusError::configuration(format!(
                    "columns `{other}` and `{path}` are one oneof in the descriptor, which has room for one of them"
                )));
            }
            plan.fields.push(self.field(scope, field, column, position, &path, depth)?);
        }
        plan.missing = descriptor
            .field
            .iter()
            .find(|field| field.label() == Label::Required && free.contains_key(field.name()))
            .map(|field| format!("{path}{}", field.name()).into());
        Ok(plan)
    }

    fn field(
        &self,
        scope: &str,
        field: &FieldDescriptorProto,
        column: &Field,
        position: usize,
        path: &str,
        depth: usize,
    ) -> Result<FieldPlan, ZerobusError> {
        let field_type = self.types.field_type(scope, field)?;
        let required = (field.label() == Label::Required).then_some("null in a required field");
        let shape = shape(column, path)?;
        let repeated = field.label() == Label::Repeated;
        let is_null = matches!(shape, Shape::One(DataType::Null));
        if repeated == matches!(shape, Shape::One(_) | Shape::Variant) && !is_null {
            return Err(mismatch(path, column.data_type(), field, repeated));
        }
        let list = |element: FieldPlan| {
            let numbers =
                matches!(&element.kind, Kind::Scalar(scalar) if !matches!(scalar, Scalar::Bytes | Scalar::Text));
            let packed = numbers && field.options.as_ref().is_some_and(prost_types::FieldOptions::packed);
            let element = FieldPlan { tag: if packed { Tag::default() } else { element.tag }, ..element };
            Kind::List { element: Box::new(element), packed }
        };
        let tag = |kind: &Kind| Tag::new(field.number(), wire_type(kind));
        let on_null_element = (self.null_list_element == NullListElement::Error).then_some("a list has a null element");
        let element = |kind, on_null| FieldPlan { path: path.into(), column: 0, tag: tag(&kind), on_null, kind };
        let (kind, on_null) = match shape {
            Shape::One(DataType::Null) => (Kind::Null, required),
            Shape::One(_) | Shape::Variant => (self.value(&field_type, field, column, path, depth)?, required),
            Shape::List(item) => {
                let kind = self.value(&field_type, field, item, path, depth)?;
                (list(element(kind, on_null_element)), null_list(column))
            }
            Shape::Map(key, value) => {
                let FieldType::Message(entry, scope) = &field_type else {
                    return Err(mismatch(path, column.data_type(), field, repeated));
                };
                let kind = Kind::Message(self.entry(scope, entry, key, value, path, depth)?);
                (list(element(kind, on_null_element)), null_list(column))
            }
        };
        Ok(FieldPlan { path: path.into(), column: position, tag: tag(&kind), on_null, kind })
    }

    /// The plan of the entries of a map: two columns, of whatever name.
    fn entry(
        &self,
        scope: &str,
        entry: &DescriptorProto,
        key: &Field,
        value: &Field,
        path: &str,
        depth: usize,
    ) -> Result<MessagePlan, ZerobusError> {
        let numbered = |number| entry.field.iter().find(|field| field.number() == number);
        let (Some(key_field), Some(value_field), 2) = (numbered(1), numbered(2), entry.field.len()) else {
            return Err(ZerobusError::configuration(format!(
                "column `{path}` is a map, and `{scope}` of the descriptor is no entry of one"
            )));
        };
        let mut key_plan = self.field(scope, key_field, key, 0, path, depth + 1)?;
        key_plan.on_null = Some("a map has a null key");
        let value_plan = self.field(scope, value_field, value, 1, path, depth + 1)?;
        let keys = matches!(&key_plan.kind, Kind::Scalar(scalar) if !matches!(scalar, Scalar::Float | Scalar::Double))
            && !matches!(self.types.field_type(scope, key_field)?, FieldType::Scalar(Type::Bytes));
        if !keys || matches!(value_plan.kind, Kind::List { .. }) {
            return Err(unsupported(path, if keys { value } else { key }.data_type()));
        }
        Ok(MessagePlan { fields: vec![key_plan, value_plan], missing: None, unknown: Vec::new() })
    }

    /// How values of `column`, which is none of lists, are written into `field`.
    fn value(
        &self,
        field_type: &FieldType<'_>,
        field: &FieldDescriptorProto,
        column: &Field,
        path: &str,
        depth: usize,
    ) -> Result<Kind, ZerobusError> {
        let data_type = value_type(column.data_type());
        if matches!(shape(column, path)?, Shape::Variant) && matches!(field_type, FieldType::Scalar(Type::String)) {
            return Ok(Kind::Variant);
        }
        let scalar = match (data_type, field_type) {
            (DataType::Struct(children), FieldType::Message(descriptor, scope)) => {
                let plan = self.message(scope, descriptor, children, &format!("{path}."), depth + 1)?;
                return Ok(Kind::Message(plan));
            }
            (_, FieldType::Message(..)) => None,
            (_, FieldType::Scalar(kind)) => scalar(data_type, *kind),
            (_, FieldType::Enum(declared)) => data_type.is_integer().then(|| {
                let mut numbers: Vec<i32> =
                    declared.value.iter().map(prost_types::EnumValueDescriptorProto::number).collect();
                numbers.sort_unstable();
                Scalar::Int(Unit::One, Int::Enum(numbers.into()))
            }),
        };
        match scalar {
            Some(scalar) => Ok(Kind::Scalar(scalar)),
            None if !matches!(data_type, DataType::Struct(_))
                && natural_type(data_type).is_none()
                && units(data_type).is_none() =>
            {
                Err(unsupported(path, data_type))
            }
            None => Err(mismatch(path, data_type, field, field.label() == Label::Repeated)),
        }
    }
}

fn null_list(column: &Field) -> Option<&'static str> {
    (!column.is_nullable()).then_some("null in a list that is not nullable")
}

fn mismatch(path: &str, data_type: &DataType, field: &FieldDescriptorProto, repeated: bool) -> ZerobusError {
    let kind = match field.r#type.map(Type::try_from) {
        Some(Ok(kind)) => kind.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
        _ => field.type_name().to_owned(),
    };
    let repeated = if repeated { "repeated " } else { "" };
    ZerobusError::conversion(format!(
        "column `{path}` of type {data_type} does not fit its field of type {repeated}{kind}"
    ))
}

/// The unit of a time, date or duration, in what the service wants it in: microseconds or days.
fn units(data_type: &DataType) -> Option<Unit> {
    Some(match data_type {
        DataType::Date32 => Unit::One,
        DataType::Date64 => Unit::Per(86_400_000),
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) | DataType::Duration(unit) => {
            match unit {
                TimeUnit::Second => Unit::Times(1_000_000),
                TimeUnit::Millisecond => Unit::Times(1000),
                TimeUnit::Microsecond => Unit::One,
                TimeUnit::Nanosecond => Unit::Per(1000),
            }
        }
        _ => return None,
    })
}

/// How a value of `data_type` is written as `kind` without loss, if that can be.
fn scalar(data_type: &DataType, kind: Type) -> Option<Scalar> {
    use DataType as D;
    let int = match kind {
        Type::Int32 => Some(Int::Int32),
        Type::Int64 => Some(Int::Int64),
        Type::Uint32 => Some(Int::UInt32),
        Type::Uint64 => Some(Int::UInt64),
        Type::Sint32 => Some(Int::SInt32),
        Type::Sint64 => Some(Int::SInt64),
        Type::Fixed32 => Some(Int::Fixed32),
        Type::Fixed64 => Some(Int::Fixed64),
        Type::Sfixed32 => Some(Int::SFixed32),
        Type::Sfixed64 => Some(Int::SFixed64),
        _ => None,
    };
    match (data_type, kind) {
        (D::Boolean, Type::Bool) => Some(Scalar::Bool),
        (D::Date32 | D::Date64, Type::Int32)
        | (D::Timestamp(..) | D::Time32(_) | D::Time64(_) | D::Duration(_), Type::Int64) => {
            Some(Scalar::Int(units(data_type)?, int?))
        }
        (D::UInt64 | D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..), Type::String) => {
            Some(Scalar::Text)
        }
        (D::Float16 | D::Float32 | D::Int8 | D::Int16 | D::UInt8 | D::UInt16, Type::Float) => Some(Scalar::Float),
        (
            D::Float16 | D::Float32 | D::Float64 | D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32,
            Type::Double,
        ) => Some(Scalar::Double),
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, Type::String | Type::Bytes)
        | (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), Type::Bytes) => Some(Scalar::Bytes),
        _ if data_type.is_integer() => Some(Scalar::Int(Unit::One, int?)),
        _ => None,
    }
}

fn wire_type(kind: &Kind) -> u32 {
    match kind {
        Kind::Scalar(Scalar::Int(_, Int::Fixed32 | Int::SFixed32) | Scalar::Float) => 5,
        Kind::Scalar(Scalar::Int(_, Int::Fixed64 | Int::SFixed64) | Scalar::Double) => 1,
        Kind::Scalar(Scalar::Int(..) | Scalar::Bool) => 0,
        Kind::Scalar(Scalar::Bytes | Scalar::Text)
        | Kind::Message(_)
        | Kind::List { .. }
        | Kind::Variant
        | Kind::Null => 2,
    }
}
