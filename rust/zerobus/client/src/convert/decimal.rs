//! Decimals as plain text.

use arrow_buffer::i256;

/// 77 digits, 128 zeros, sign and point.
const CAPACITY: usize = 208;

/// The text of a number, without an allocation.
pub(crate) struct Text {
    bytes: [u8; CAPACITY],
    /// Where it begins; it ends with the array.
    start: usize,
}

impl Text {
    fn empty() -> Self {
        Self { bytes: [0; CAPACITY], start: CAPACITY }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(at) = self.start.checked_sub(1)
            && let Some(place) = self.bytes.get_mut(at)
        {
            *place = byte;
            self.start = at;
        }
    }

    /// Writes the digits of a number from the last to the first: those of the parts, of 18 digits each but the first.
    fn digits(negative: bool, parts: [u64; 5], scale: i8) -> Self {
        let mut text = Self::empty();
        let is_zero = parts == [0; 5];
        // Zeros behind a number are no fraction.
        for _ in 0..if is_zero { 0 } else { -i16::from(scale.min(0)) } {
            text.push(b'0');
        }
        let fraction = usize::from(scale.max(0).unsigned_abs());
        let mut written = 0;
        let mut digit = |text: &mut Self, digit: u64| {
            text.push(b'0' + digit as u8);
            written += 1;
            if written == fraction {
                text.push(b'.');
            }
            written
        };
        let mut count = 0;
        let last = parts.iter().rposition(|part| *part != 0).unwrap_or(0);
        for (index, part) in parts.iter().take(last + 1).enumerate() {
            let mut rest = *part;
            let mut width = 0;
            while rest != 0 || (index < last && width < 18) {
                count = digit(&mut text, rest % 10);
                rest /= 10;
                width += 1;
            }
        }
        while count <= fraction {
            count = digit(&mut text, 0);
        }
        if negative {
            text.push(b'-');
        }
        text
    }
}

const PART: u64 = 1_000_000_000_000_000_000;

/// `value` / 10^`scale`, with `scale` digits behind the point.
pub(crate) fn text(value: i128, scale: i8) -> Text {
    let mut rest = value.unsigned_abs();
    let mut parts = [0; 5];
    for part in &mut parts {
        if let Ok(small) = u64::try_from(rest) {
            *part = small % PART;
            rest = u128::from(small / PART);
        } else {
            *part = (rest % u128::from(PART)) as u64;
            rest /= u128::from(PART);
        }
    }
    Text::digits(value < 0, parts, scale)
}

/// The same of a wider number.
pub(crate) fn wide_text(value: i256, scale: i8) -> Text {
    let (low, high) = value.to_parts();
    if high == low.cast_signed() >> 127 {
        return text(low.cast_signed(), scale);
    }
    let negative = high < 0;
    // The magnitude in 32-bit limbs, divided by hand: i256 has none of -2^255.
    let (low, high) = if negative {
        (low.wrapping_neg(), (!high).cast_unsigned() + u128::from(low == 0))
    } else {
        (low, high.cast_unsigned())
    };
    let limb = |of: u128, at: u32| (of >> (32 * at)) as u32;
    let mut limbs = [0, 1, 2, 3].map(|at| limb(high, at)).into_iter().rev().chain([3, 2, 1, 0].map(|at| limb(low, at)));
    let mut limbs: [u32; 8] = std::array::from_fn(|_| limbs.next().unwrap_or_default());
    let mut parts = [0; 5];
    for part in &mut parts {
        let mut divide = |by: u64| {
            let mut rest = 0_u64;
            for limb in &mut limbs {
                let dividend = (rest << 32) | u64::from(*limb);
                *limb = (dividend / by) as u32;
                rest = dividend % by;
            }
            rest
        };
        let low = divide(1_000_000_000);
        *part = divide(1_000_000_000) * 1_000_000_000 + low;
    }
    Text::digits(negative, parts, scale)
}

/// Length of [`text`].
pub(super) fn text_len(value: i128, scale: i8) -> usize {
    let digits = |value: u128| match u64::try_from(value) {
        Ok(small) => small.checked_ilog10(),
        Err(_) => value.checked_ilog10(),
    };
    let sign = usize::from(value < 0);
    match (digits(value.unsigned_abs()), scale) {
        (None, ..=0) => 1,
        (Some(log), ..=0) => sign + log as usize + 1 + usize::from(scale.unsigned_abs()),
        (log, _) => {
            let fraction = usize::from(scale.unsigned_abs());
            sign + (log.unwrap_or(0) as usize).max(fraction) + 2
        }
    }
}
