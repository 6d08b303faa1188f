//! A serde serializer that writes YAML as it is walked: nothing is built twice.

use serde::Serialize;
use serde::ser::{self, SerializeMap as _};

use super::yaml::Layout;
use super::yaml_scalar::{Plain, is_block, plain, quoted};

/// The columns that a collection on one line may reach to.
const WIDTH: usize = 120;

/// What stands before the value to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// `key:`
    Field,
    /// `-`
    Item,
    /// The value is a key itself.
    Key,
}

/// Writes one document.
pub(super) struct Writer<'o> {
    out: &'o mut String,
    layout: Layout,
    place: Place,
    /// Of the lines of the value to be written, in steps of two columns.
    depth: usize,
    /// Whether everything so far in the open collection takes one line each, and means the same between braces.
    one_line: bool,
    /// Where a collection is folded.
    folded: String,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut String, layout: Layout) -> Self {
        Self {
            out,
            layout,
            place: Place::Root,
            depth: 0,
            one_line: true,
            folded: String::with_capacity(WIDTH),
        }
    }

    fn indent(&mut self) {
        const SPACES: &str = "                                                                ";
        let mut columns = 2 * self.depth;
        while columns > SPACES.len() {
            self.out.push_str(SPACES);
            columns -= SPACES.len();
        }
        self.out.push_str(&SPACES[..columns]);
    }

    fn word(&mut self, text: &str) {
        self.scalar(|out| out.push_str(text));
    }

    fn scalar(&mut self, write: impl FnOnce(&mut String)) {
        if self.place == Place::Key {
            write(self.out);
        } else {
            self.out.push(' ');
            write(self.out);
            self.out.push('\n');
        }
    }

    fn number(&mut self, value: impl std::fmt::Display) {
        use std::fmt::Write as _;
        self.scalar(|out| {
            let _ = write!(out, "{value}");
        });
    }

    fn block(&mut self, text: &str) {
        self.one_line = false;
        self.out.push_str(if text.ends_with('\n') { " |" } else { " |-" });
        for line in text.trim_end_matches('\n').split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.indent();
                self.out.push_str(line);
            }
        }
        self.out.push('\n');
    }

    fn open(&mut self) -> Open {
        let open = Open {
            start: self.out.len(),
            place: self.place,
            depth: self.depth,
            one_line: self.one_line,
            empty: true,
        };
        self.one_line = true;
        open
    }

    /// Goes to where the next entry of a collection begins.
    fn next(&mut self, open: &mut Open, is_list: bool) {
        match open.place {
            Place::Item if open.empty && !is_list => self.out.push(' '),
            Place::Root if open.empty => {}
            _ if open.empty => {
                self.out.push('\n');
                self.depth = open.depth;
                self.indent();
            }
            _ => {
                self.depth = open.depth;
                self.indent();
            }
        }
        open.empty = false;
        self.depth = open.depth + 1;
    }

    /// Ends a collection: on one line between `brackets` where it is short and the layout says so.
    fn close(&mut self, open: &Open, brackets: [&str; 2]) {
        self.depth = open.depth;
        if open.empty {
            self.out.push(' ');
            self.out.extend(brackets);
            self.out.push('\n');
            self.one_line = open.one_line;
            return;
        }
        let folded = self.layout == Layout::Compact
            && self.one_line
            && open.place != Place::Root
            && self.fold(open, brackets);
        self.one_line = folded && open.one_line;
    }

    /// Takes what stands since `open` for one line between `brackets`, where it is short enough for that.
    fn fold(&mut self, open: &Open, [left, right]: [&str; 2]) -> bool {
        let bytes = self.out.as_bytes();
        let line = bytes[..open.start].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let room = WIDTH.saturating_sub(open.start - line);
        let (mut at, mark) = (open.start, if left == "[" { 2 } else { 0 });
        self.folded.clear();
        while at < bytes.len() {
            let start = at + bytes[at..].iter().take_while(|byte| **byte == b' ').count();
            let end = start + bytes[start..].iter().take_while(|byte| **byte != b'\n').count();
            at = end + 1;
            if start == end {
                continue;
            }
            self.folded.push_str(if self.folded.is_empty() { left } else { ", " });
            self.folded.push_str(&self.out[start + mark..end]);
            if self.folded.len() + " }\n".len() > room {
                return false;
            }
        }
        self.out.truncate(open.start);
        self.out.extend([" ", &self.folded, right, "\n"]);
        true
    }
}

/// A collection that is being written.
struct Open {
    /// Where its text begins.
    start: usize,
    place: Place,
    depth: usize,
    /// What [`Writer::one_line`] was.
    one_line: bool,
    empty: bool,
}

/// A mapping or list on its way.
pub(super) struct Collection<'w, 'o> {
    writer: &'w mut Writer<'o>,
    open: Open,
}

impl Collection<'_, '_> {
    fn key<K: Serialize + ?Sized>(&mut self, key: &K) -> Result<(), Refused> {
        self.writer.next(&mut self.open, false);
        self.writer.place = Place::Key;
        key.serialize(&mut *self.writer)?;
        self.writer.out.push(':');
        Ok(())
    }

    fn value<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Refused> {
        self.writer.place = Place::Field;
        value.serialize(&mut *self.writer)
    }

    fn end_mapping(self) {
        self.writer.close(&self.open, ["{", "}"]);
    }
}

/// What YAML of ours does not hold.
#[derive(Debug)]
pub(super) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'w, 'o> ser::Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Collection<'w, 'o>;
    type SerializeTuple = Collection<'w, 'o>;
    type SerializeTupleStruct = ser::Impossible<(), Refused>;
    type SerializeTupleVariant = ser::Impossible<(), Refused>;
    type SerializeMap = Collection<'w, 'o>;
    type SerializeStruct = Collection<'w, 'o>;
    type SerializeStructVariant = ser::Impossible<(), Refused>;

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.word(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Refused> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Refused> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Refused> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Refused> {
        self.number(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Refused> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Refused> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Refused> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Refused> {
        self.number(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        /// Below this, zeros hide the digits.
        const SMALL: f64 = 1e-9;
        if value == 0.0 {
            self.word("0");
        } else if value.is_nan() {
            self.word(".nan");
        } else if value.is_infinite() {
            self.word(if value > 0.0 { ".inf" } else { "-.inf" });
        } else if value.abs() < SMALL {
            // YAML 1.1 reads a number with an exponent only where it has a point.
            let text = format!("{value:e}");
            self.word(&if text.contains('.') { text } else { text.replace('e', ".0e") });
        } else {
            self.number(value);
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        let plain = plain(text);
        if plain != Plain::Nowhere {
            self.one_line &= plain == Plain::Anywhere;
            self.word(text);
        } else if self.place != Place::Key && is_block(text) {
            self.block(text);
        } else {
            self.scalar(|out| quoted(text, out));
        }
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Refused> {
        Err(ser::Error::custom("bytes"))
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.word("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let mut map = self.serialize_map(Some(1))?;
        map.serialize_entry(variant, value)?;
        ser::SerializeMap::end(map)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Collection<'w, 'o>, Refused> {
        let open = self.open();
        Ok(Collection { writer: self, open })
    }

    fn serialize_tuple(self, length: usize) -> Result<Collection<'w, 'o>, Refused> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Refused> {
        Err(ser::Error::custom("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(ser::Error::custom("a tuple"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Collection<'w, 'o>, Refused> {
        if self.place == Place::Key {
            return Err(ser::Error::custom("a key that is no text"));
        }
        let open = self.open();
        Ok(Collection { writer: self, open })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Collection<'w, 'o>, Refused> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(ser::Error::custom("a variant of fields"))
    }
}

impl ser::SerializeSeq for Collection<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.writer.next(&mut self.open, true);
        self.writer.out.push('-');
        self.writer.place = Place::Item;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Refused> {
        self.writer.close(&self.open, ["[", "]"]);
        Ok(())
    }
}

impl ser::SerializeTuple for Collection<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Refused> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeMap for Collection<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.end_mapping();
        Ok(())
    }
}

impl ser::SerializeStruct for Collection<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let (before, first) = (self.writer.out.len(), self.open.empty);
        self.key(key)?;
        self.value(value)?;
        let nothing = || {
            let written = self.writer.out[before..].trim_start_matches('\n');
            let value =
                [": \"\"\n", ": []\n", ": {}\n", ": null\n"].iter().find_map(|end| written.strip_suffix(end));
            // Of several lines, the last one may end so too.
            value.is_some_and(|key| !key.contains('\n'))
        };
        if self.writer.layout == Layout::Compact && nothing() {
            self.writer.out.truncate(before);
            self.open.empty = first;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Refused> {
        self.end_mapping();
        Ok(())
    }
}
