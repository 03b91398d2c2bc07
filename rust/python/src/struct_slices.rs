//! Structs that are slices, as they come through the C data interface.

use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};

/// Leaves the offsets of structs to what they hold, and those of lists of a fixed size. Arrow (59.3) cuts the columns of a
/// struct that is a slice and keeps its offset as well, so that it panics at a struct in either.
#[expect(unsafe_code, reason = "to validate what a producer vouches for is to read all of it")]
pub(crate) fn settled(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let size = match data.data_type() {
        DataType::Struct(_) => Some(1),
        DataType::FixedSizeList(_, size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let span = size.map(|size| (data.offset().saturating_mul(size), data.len().saturating_mul(size)));
    let child = |child: &ArrayData| {
        settled(match span {
            Some((offset, len)) if offset > 0 || child.len() != len => cut(child, offset, len)?,
            _ => child.clone(),
        })
    };
    let children: Vec<_> = data.child_data().iter().map(child).collect::<Result<_, _>>()?;
    let builder = data.into_builder().child_data(children);
    let builder = if span.is_some() { builder.offset(0) } else { builder };
    // SAFETY: the same values in the same places.
    Ok(unsafe { builder.build_unchecked() })
}

/// A part of an array; the columns of a struct stay whole.
#[expect(unsafe_code, reason = "as above")]
fn cut(data: &ArrayData, offset: usize, len: usize) -> Result<ArrayData, ArrowError> {
    if offset.checked_add(len).is_none_or(|end| end > data.len()) {
        return Err(ArrowError::CDataInterface("an array has fewer values than the one around it needs".to_owned()));
    }
    if !matches!(data.data_type(), DataType::Struct(_)) {
        return Ok(data.slice(offset, len));
    }
    let nulls = data.nulls().map(|nulls| nulls.slice(offset, len));
    let builder = data.clone().into_builder().offset(data.offset() + offset).len(len).nulls(nulls);
    // SAFETY: within what was there.
    Ok(unsafe { builder.build_unchecked() })
}
