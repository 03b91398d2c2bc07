//! GEOMETRY and GEOGRAPHY values: EWKT text to WKB and back.
//!
//! Text is `SRID=4326;POINT(1 2)` with the SRID left out where it is 0; bytes are ISO WKB, in little-endian order where
//! written here. Both readers take other people's input: they never look past its end, keep to a depth, and refuse what
//! they do not understand as a whole.

use std::fmt::Write;

use crate::results::text;

/// Deepest nesting of collections.
const MAX_NESTING: usize = 32;
/// Flags of the older "extended" WKB.
const EXTENDED_Z: u32 = 0x8000_0000;
const EXTENDED_M: u32 = 0x4000_0000;
const EXTENDED_SRID: u32 = 0x2000_0000;

/// Why a value is not a geometry.
pub(crate) type Reason = &'static str;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Point,
    LineString,
    Polygon,
    MultiPoint,
    MultiLineString,
    MultiPolygon,
    Collection,
}

impl Kind {
    const ALL: [(Self, &'static str, u32); 7] = [
        (Self::Point, "POINT", 1),
        (Self::LineString, "LINESTRING", 2),
        (Self::Polygon, "POLYGON", 3),
        (Self::MultiPoint, "MULTIPOINT", 4),
        (Self::MultiLineString, "MULTILINESTRING", 5),
        (Self::MultiPolygon, "MULTIPOLYGON", 6),
        (Self::Collection, "GEOMETRYCOLLECTION", 7),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    fn code(self) -> u32 {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(0, |(.., code)| *code)
    }

    /// The kind of the parts, where they are geometries of one kind.
    fn part(self) -> Option<Self> {
        match self {
            Self::MultiPoint => Some(Self::Point),
            Self::MultiLineString => Some(Self::LineString),
            Self::MultiPolygon => Some(Self::Polygon),
            _ => None,
        }
    }
}

/// Which coordinates there are besides x and y.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Dimensions {
    z: bool,
    m: bool,
}

impl Dimensions {
    fn count(self) -> usize {
        2 + usize::from(self.z) + usize::from(self.m)
    }

    fn code(self) -> u32 {
        u32::from(self.z) * 1000 + u32::from(self.m) * 2000
    }

    fn tag(self) -> &'static str {
        match (self.z, self.m) {
            (false, false) => "",
            (true, false) => " Z",
            (false, true) => " M",
            (true, true) => " ZM",
        }
    }
}

/// Reads EWKT; `srid` is that of a value which does not name one. Returns the SRID and appends the WKB to `out`, which may
/// grow to `limit` bytes.
pub(crate) fn wkb_of_text(text: &str, srid: i32, out: &mut Vec<u8>, limit: usize) -> Result<i32, Reason> {
    let mut reader = TextReader { rest: text.trim_start(), limit };
    let mut srid = srid;
    if reader.rest.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("SRID=")) {
        let (number, rest) = reader.rest.split_once(';').ok_or("its SRID does not end")?;
        srid = number.get(5..).and_then(|number| number.trim().parse().ok()).ok_or("its SRID is not a number")?;
        reader.rest = rest;
    }
    reader.geometry(0, out)?;
    reader.check(out)?;
    if reader.next().is_empty() { Ok(srid) } else { Err("text follows the geometry") }
}

struct TextReader<'a> {
    rest: &'a str,
    limit: usize,
}

impl<'a> TextReader<'a> {
    fn next(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn eat(&mut self, symbol: char) -> bool {
        match self.next().strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Eats a word if it comes next, in any case, and does not go on in letters.
    fn eat_word(&mut self, word: &str) -> bool {
        let rest = self.next();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (found, rest) = rest.split_at(end);
        let matches = found.eq_ignore_ascii_case(word);
        if matches {
            self.rest = rest;
        }
        matches
    }

    fn head(&mut self) -> Result<(Kind, Dimensions), Reason> {
        for (kind, name, _) in Kind::ALL {
            // The dimensions may stand behind the name at once: `POINTZ`.
            for (tag, z, m) in [("", false, false), ("Z", true, false), ("M", false, true), ("ZM", true, true)] {
                if self.eat_word(&format!("{name}{tag}")) {
                    if !tag.is_empty() {
                        return Ok((kind, Dimensions { z, m }));
                    }
                    let (zm, z, m) = (self.eat_word("ZM"), self.eat_word("Z"), self.eat_word("M"));
                    return Ok((kind, Dimensions { z: zm || z, m: zm || m }));
                }
            }
        }
        Err("it starts with no known geometry")
    }

    fn geometry(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (kind, dimensions) = self.head()?;
        self.body(kind, dimensions, depth, out)
    }

    fn body(&mut self, kind: Kind, dimensions: Dimensions, depth: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if depth > MAX_NESTING {
            return Err("it is nested too deeply");
        }
        out.push(1);
        out.extend((kind.code() + dimensions.code()).to_le_bytes());
        let is_empty = self.eat_word("EMPTY");
        match kind {
            Kind::Point if is_empty => {
                for _ in 0..dimensions.count() {
                    out.extend(f64::NAN.to_le_bytes());
                }
                Ok(())
            }
            _ if is_empty => {
                out.extend([0; 4]);
                Ok(())
            }
            Kind::Point => {
                self.open()?;
                self.coordinate(dimensions, out)?;
                self.close()
            }
            Kind::LineString => self.line(dimensions, out),
            Kind::Polygon => self.list(out, |reader, out| {
                if reader.eat_word("EMPTY") {
                    out.extend([0; 4]);
                    return Ok(());
                }
                reader.line(dimensions, out)
            }),
            // Its points may stand without parentheses.
            Kind::MultiPoint => self.list(out, |reader, out| {
                if reader.next().starts_with('(') || reader.next().starts_with(['e', 'E']) {
                    return reader.body(Kind::Point, dimensions, depth + 1, out);
                }
                out.push(1);
                out.extend((Kind::Point.code() + dimensions.code()).to_le_bytes());
                reader.coordinate(dimensions, out)
            }),
            Kind::Collection => self.list(out, |reader, out| reader.geometry(depth + 1, out)),
            Kind::MultiLineString | Kind::MultiPolygon => {
                let part = kind.part().unwrap_or(Kind::Point);
                self.list(out, |reader, out| reader.body(part, dimensions, depth + 1, out))
            }
        }
    }

    /// Reads `(..., ...)` and writes the count before the items.
    fn list(
        &mut self,
        out: &mut Vec<u8>,
        mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.open()?;
        let at = out.len();
        out.extend([0; 4]);
        let mut count = 0_u32;
        loop {
            item(self, out)?;
            self.check(out)?;
            count = count.checked_add(1).ok_or("it has too many parts")?;
            if !self.eat(',') {
                break;
            }
        }
        if let Some(place) = out.get_mut(at..at + 4) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        self.close()
    }

    fn line(&mut self, dimensions: Dimensions, out: &mut Vec<u8>) -> Result<(), Reason> {
        self.list(out, |reader, out| reader.coordinate(dimensions, out))
    }

    fn coordinate(&mut self, dimensions: Dimensions, out: &mut Vec<u8>) -> Result<(), Reason> {
        for _ in 0..dimensions.count() {
            let rest = self.next();
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')')).unwrap_or(rest.len());
            let (number, rest) = rest.split_at(end);
            let value: f64 = text::float(number).ok_or("a coordinate is not a number")?;
            out.extend(value.to_le_bytes());
            self.rest = rest;
        }
        Ok(())
    }

    fn check(&self, out: &[u8]) -> Result<(), Reason> {
        if out.len() <= self.limit { Ok(()) } else { Err("its bytes are too many") }
    }

    fn open(&mut self) -> Result<(), Reason> {
        if self.eat('(') { Ok(()) } else { Err("an opening parenthesis is missing") }
    }

    fn close(&mut self) -> Result<(), Reason> {
        if self.eat(')') { Ok(()) } else { Err("a closing parenthesis is missing") }
    }
}

/// Writes WKB as EWKT; an SRID inside the bytes must be `srid`. `check` is asked from time to time whether the text may
/// grow further.
pub(crate) fn text_of_wkb<W: Write>(
    wkb: &[u8],
    srid: i32,
    out: &mut W,
    check: impl Fn(&W) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut reader = WkbReader { rest: wkb, srid, out, check };
    if srid != 0 {
        reader.write(format_args!("SRID={srid};"));
    }
    reader.geometry(None, 0)?;
    if reader.rest.is_empty() { Ok(()) } else { Err("bytes follow the geometry") }
}

struct WkbReader<'a, W, C> {
    rest: &'a [u8],
    srid: i32,
    out: &'a mut W,
    check: C,
}

impl<W: Write, C: Fn(&W) -> Result<(), Reason>> WkbReader<'_, W, C> {
    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // The text is a String underneath, which cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or("it ends early")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn number(&mut self, little_endian: bool) -> Result<u32, Reason> {
        let bytes = self.take()?;
        Ok(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// Reads a geometry: any one with its name, or a part of the `expected` kind without.
    fn geometry(&mut self, expected: Option<(Kind, Dimensions)>, depth: usize) -> Result<(), Reason> {
        if depth > MAX_NESTING {
            return Err("it is nested too deeply");
        }
        let little_endian = match self.take()? {
            [0] => false,
            [1] => true,
            _ => return Err("its byte order is unknown"),
        };
        let (kind, dimensions) = self.head(little_endian)?;
        match expected {
            Some(expected) if expected != (kind, dimensions) => return Err("a part is of another kind than the whole"),
            Some(_) => {}
            None => self.write(format_args!("{}{}", kind.name(), dimensions.tag())),
        }
        // `POINT(1 2)` but `POINT Z (1 2 3)`.
        let space = if expected.is_none() && dimensions.count() > 2 { " " } else { "" };
        let before_empty = if expected.is_none() { " " } else { "" };
        if kind == Kind::Point {
            return self.point(dimensions, little_endian, space, before_empty);
        }
        let count = self.number(little_endian)?;
        // A polygon of nothing but an empty ring has no other text than an empty one.
        if kind == Kind::Polygon && count == 1 && self.rest.first_chunk() == Some(&[0; 4]) {
            self.take::<4>()?;
            self.write(format_args!("{before_empty}EMPTY"));
            return Ok(());
        }
        if count == 0 {
            self.write(format_args!("{before_empty}EMPTY"));
            return Ok(());
        }
        self.write(format_args!("{space}("));
        for position in 0..count {
            self.separate(position)?;
            match kind {
                Kind::LineString => self.coordinate(dimensions, little_endian)?,
                Kind::Polygon => self.ring(dimensions, little_endian)?,
                Kind::Collection => self.geometry(None, depth + 1)?,
                _ => self.geometry(kind.part().map(|part| (part, dimensions)), depth + 1)?,
            }
        }
        self.write(format_args!(")"));
        Ok(())
    }

    fn head(&mut self, little_endian: bool) -> Result<(Kind, Dimensions), Reason> {
        let code = self.number(little_endian)?;
        if code & EXTENDED_SRID != 0 && self.number(little_endian)?.cast_signed() != self.srid {
            return Err("its SRID is another one inside");
        }
        let mut dimensions = Dimensions { z: code & EXTENDED_Z != 0, m: code & EXTENDED_M != 0 };
        let code = code & !(EXTENDED_Z | EXTENDED_M | EXTENDED_SRID);
        match code / 1000 {
            0 => {}
            1 => dimensions.z = true,
            2 => dimensions.m = true,
            3 => dimensions = Dimensions { z: true, m: true },
            _ => return Err("its kind is unknown"),
        }
        let kind = Kind::ALL.iter().find(|(.., known)| *known == code % 1000).ok_or("its kind is unknown")?;
        Ok((kind.0, dimensions))
    }

    /// A point without coordinates is one of NaN only.
    fn point(
        &mut self,
        dimensions: Dimensions,
        little_endian: bool,
        space: &str,
        before_empty: &str,
    ) -> Result<(), Reason> {
        let mut ahead = self.rest;
        let mut is_empty = true;
        for _ in 0..dimensions.count() {
            let (bytes, rest) = ahead.split_first_chunk::<8>().ok_or("it ends early")?;
            is_empty &= double(*bytes, little_endian).is_nan();
            ahead = rest;
        }
        if is_empty {
            self.rest = ahead;
            self.write(format_args!("{before_empty}EMPTY"));
            return Ok(());
        }
        self.write(format_args!("{space}("));
        self.coordinate(dimensions, little_endian)?;
        self.write(format_args!(")"));
        Ok(())
    }

    fn ring(&mut self, dimensions: Dimensions, little_endian: bool) -> Result<(), Reason> {
        let count = self.number(little_endian)?;
        if count == 0 {
            self.write(format_args!("EMPTY"));
            return Ok(());
        }
        self.write(format_args!("("));
        for position in 0..count {
            self.separate(position)?;
            self.coordinate(dimensions, little_endian)?;
        }
        self.write(format_args!(")"));
        Ok(())
    }

    fn separate(&mut self, position: u32) -> Result<(), Reason> {
        if position > 0 {
            self.write(format_args!(","));
        }
        (self.check)(self.out)
    }

    fn coordinate(&mut self, dimensions: Dimensions, little_endian: bool) -> Result<(), Reason> {
        for position in 0..dimensions.count() {
            let value = double(self.take()?, little_endian);
            let separator = if position > 0 { " " } else { "" };
            self.write(format_args!("{separator}{value}"));
        }
        Ok(())
    }
}

fn double(bytes: [u8; 8], little_endian: bool) -> f64 {
    if little_endian { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wkb(text: &str) -> Result<(i32, Vec<u8>), Reason> {
        let mut out = Vec::new();
        wkb_of_text(text, 4326, &mut out, 1 << 20).map(|srid| (srid, out))
    }

    fn text(wkb: &[u8], srid: i32) -> Result<String, Reason> {
        let mut out = String::new();
        text_of_wkb(wkb, srid, &mut out, |_| Ok(())).map(|()| out)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn text_becomes_bytes_as_measured() {
        for (text, expected) in [
            ("POINT(1 2)", "0101000000000000000000f03f0000000000000040"),
            ("LINESTRING EMPTY", "010200000000000000"),
            ("POINT EMPTY", "0101000000000000000000f87f000000000000f87f"),
            (
                "MULTIPOINT(1 2,3 4)",
                "0104000000020000000101000000000000000000f03f0000000000000040010100000000000000000008400000000000001040",
            ),
            (
                "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
                "0107000000020000000101000000000000000000f03f000000000000004001020000000200000000000000000000000000000000000000000000000000f03f000000000000f03f",
            ),
            ("POINT Z (1 2 3)", "01e9030000000000000000f03f00000000000000400000000000000840"),
            ("POINT M (1 2 3)", "01d1070000000000000000f03f00000000000000400000000000000840"),
            ("pointzm(1 2 3 4)", "01b90b0000000000000000f03f000000000000004000000000000008400000000000001040"),
            ("MULTIPOINT Z ((1 2 3))", "01ec0300000100000001e9030000000000000000f03f00000000000000400000000000000840"),
            (
                "POLYGON((0 0,1 0,1 1,0 0),EMPTY)",
                "0103000000020000000400000000000000000000000000000000000000000000000000f03f0000000000000000000000000000f03f000000000000f03f0000000000000000000000000000000000000000",
            ),
            (
                "MULTIPOINT(EMPTY,(1 2))",
                "0104000000020000000101000000000000000000f87f000000000000f87f0101000000000000000000f03f0000000000000040",
            ),
        ] {
            assert_eq!(wkb(text), Ok((4326, bytes(expected))), "{text}");
        }
    }

    #[test]
    fn geometries_survive_the_way_there_and_back() {
        for text_of in [
            "POINT(1 2)",
            "POINT(1.5 -0)",
            "POINT(0.0000000001 123456789.123)",
            "POINT(100000000000000000 -0.0000001)",
            "LINESTRING(0 0,1 1,2 3)",
            "POLYGON((0 0,4 0,4 4,0 0),(1 1,2 1,2 2,1 1))",
            "POLYGON((0 0,1 0,1 1,0 0),EMPTY)",
            "MULTIPOINT((1 2),(3 4))",
            "MULTIPOINT(EMPTY,(1 2))",
            "MULTILINESTRING((0 0,1 1),(2 2,3 3))",
            "MULTILINESTRING(EMPTY,(0 0,1 1))",
            "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))",
            "MULTIPOLYGON Z (((0 0 1,1 0 1,1 1 1,0 0 1)))",
            "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
            "GEOMETRYCOLLECTION(POINT EMPTY,POLYGON EMPTY)",
            "GEOMETRYCOLLECTION Z (POINT Z (1 2 3))",
            "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(POINT(1 2)))",
            "POINT Z (1 2 3)",
            "POINT M (1 2 3)",
            "POINT ZM (1 2 3 4)",
            "LINESTRING Z (0 0 1,1 1 2)",
            "POINT EMPTY",
            "POINT Z EMPTY",
            "POLYGON EMPTY",
            "MULTIPOINT M EMPTY",
            "GEOMETRYCOLLECTION EMPTY",
            "POINT(1 NaN)",
            "POINT(inf -inf)",
        ] {
            for (prefix, srid) in [("", 0), ("SRID=4326;", 4326), ("SRID=-1;", -1)] {
                let whole = format!("{prefix}{text_of}");
                let mut out = Vec::new();
                assert_eq!(wkb_of_text(&whole, 0, &mut out, 1 << 20), Ok(srid), "{whole}");
                assert_eq!(text(&out, srid).as_deref(), Ok(whole.as_str()));
            }
        }
    }

    #[test]
    fn other_spellings_are_understood() {
        let point = bytes("0101000000000000000000f03f0000000000000040");
        for (text, srid) in [
            ("  POINT  ( 1   2 ) ", 4326),
            ("point(+1 2.)", 4326),
            ("POINT\n(1\t2e0)", 4326),
            (" srid= 3857 ; POINT(1 2)", 3857),
            ("SRID=0;POINT(1 2)", 0),
        ] {
            assert_eq!(wkb(text), Ok((srid, point.clone())), "{text}");
        }
        for (hex, expected) in [
            ("00000000013ff00000000000004000000000000000", "SRID=4326;POINT(1 2)"),
            ("0101000080000000000000f03f00000000000000400000000000000840", "SRID=4326;POINT Z (1 2 3)"),
            ("0101000020e6100000000000000000f03f0000000000000040", "SRID=4326;POINT(1 2)"),
            ("01030000000100000000000000", "SRID=4326;POLYGON EMPTY"),
            ("01eb0300000100000000000000", "SRID=4326;POLYGON Z EMPTY"),
        ] {
            assert_eq!(text(&bytes(hex), 4326).as_deref(), Ok(expected), "{hex}");
        }
    }

    #[test]
    fn hostile_input_is_refused() {
        let deep = "GEOMETRYCOLLECTION(".repeat(100_000);
        for broken in [
            "",
            "junk",
            "POINT",
            "POINT(1)",
            "POINT(1 2 3)",
            "POINT(1,2)",
            "POINT(a b)",
            "POINT(1 2) x",
            "POINT(1 2",
            "POINT Z (1 2)",
            "POINT()",
            "POINTS(1 2)",
            "POINT(1e400 0)",
            "LINESTRING()",
            "LINESTRING(0 0,)",
            "MULTIPOINT((1 2)",
            "CIRCULARSTRING(0 0,1 1,2 0)",
            "SRID=4326;",
            "SRID=4326",
            "SRID=x;POINT(1 2)",
            "SRID=99999999999;POINT(1 2)",
            "SRID=1;SRID=2;POINT(1 2)",
            "ÄÖÜäöü",
            &deep,
        ] {
            assert!(wkb(broken).is_err(), "{}", broken.chars().take(40).collect::<String>());
        }
        let deep = [bytes("010700000001000000").repeat(100_000), bytes("010700000000000000")].concat();
        for broken in [
            "",
            "01",
            "02",
            "0108000000",
            "01a10f0000",
            "0101000000000000000000f03f00000000000000",
            "0101000000000000000000f03f000000000000004078",
            "0102000000ffffffff",
            "0107000000ffffffff",
            "0103000000ffffffff00000000",
            "0101000020e5100000000000000000f03f0000000000000040",
            "010400000001000000010200000000000000",
            "01040000000100000001e9030000000000000000f03f00000000000000400000000000000840",
        ] {
            assert!(text(&bytes(broken), 4326).is_err(), "{broken}");
        }
        assert_eq!(text(&deep, 0), Err("it is nested too deeply"));
        let line = bytes("010200000002000000000000000000f03f000000000000f03f000000000000f03f000000000000f03f");
        let limited = text_of_wkb(
            &line,
            0,
            &mut String::new(),
            |out: &String| {
                if out.len() > 12 { Err("too long") } else { Ok(()) }
            },
        );
        assert_eq!(limited, Err("too long"));
        for (text, bytes) in [("POINT(1 2)", 21), ("MULTIPOINT(1 2,3 4)", 51)] {
            assert_eq!(wkb_of_text(text, 0, &mut Vec::new(), bytes), Ok(0));
            assert_eq!(wkb_of_text(text, 0, &mut Vec::new(), bytes - 1), Err("its bytes are too many"));
        }
    }

    #[test]
    fn cut_and_changed_bytes_never_read_past_the_end() {
        let (_, whole) =
            wkb("GEOMETRYCOLLECTION(POLYGON((0 0,4 0,4 4,0 0)),MULTIPOINT((1 2),(3 4)),POINT Z (1 2 3))").unwrap();
        for cut in 0..whole.len() {
            assert!(text(&whole[..cut], 0).is_err(), "{cut}");
            let mut changed = whole.clone();
            for value in [0, 1, 0x7f, 0xff] {
                changed[cut] = value;
                let _ = text(&changed, 0);
            }
        }
    }
}
