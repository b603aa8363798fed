//! A value read into a typed struct: where it fails, and which fields were not read.
//!
//! One pass over the value finds the path of a mistake, the fields that the struct does not know (with the nearest one that it
//! does) and those that are marked as not supported yet. Null is absent, as in Go. Must not know: kinds.
//! Invariant: a struct's own fields are the only list of known fields.

mod fault;

use std::cell::RefCell;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

pub(crate) use fault::Fault;

use crate::field::FieldPath;
use crate::markers::NOT_YET;

/// Something noticed beside the reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The struct has no such field; those that it has.
    Unknown { path: FieldPath, fields: &'static [&'static str] },
    /// The field is marked as not supported yet; what happens instead.
    NotYet { path: FieldPath, instead: &'static str },
}

/// Reads `value`, which stands at `path` of its object.
///
/// # Errors
/// The first thing that does not fit, with its path; the notices so far are kept.
pub(crate) fn read<'de, T: serde::Deserialize<'de>>(
    value: &'de Value,
    path: &FieldPath,
    notices: &mut Vec<Notice>,
) -> Result<T, Fault> {
    let noted = RefCell::new(std::mem::take(notices));
    let here = Here::Base(path);
    let result =
        T::deserialize(Reader { value, here: &here, notices: &noted }).map_err(|fault| fault.at(&here));
    *notices = noted.into_inner();
    result
}

/// The path to the value being read; on the stack, made into a [`FieldPath`] only when something is said.
enum Here<'a> {
    Base(&'a FieldPath),
    Key(&'a Here<'a>, &'a str),
    Index(&'a Here<'a>, usize),
}

impl Here<'_> {
    fn path(&self) -> FieldPath {
        match self {
            Self::Base(path) => (*path).clone(),
            Self::Key(parent, name) => parent.path().key(name),
            Self::Index(parent, index) => parent.path().index(*index),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'de, 'a> {
    value: &'de Value,
    here: &'a Here<'a>,
    notices: &'a RefCell<Vec<Notice>>,
}

impl<'de> Reader<'de, '_> {
    fn wrong<T>(&self, wanted: &dyn serde::de::Expected) -> Result<T, Fault> {
        Err(Fault::of_type(self.value, wanted).at(self.here))
    }

    fn list<V: Visitor<'de>>(self, items: &'de [Value], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { items: items.iter().enumerate(), of: self })
    }

    fn map<V: Visitor<'de>>(self, entries: &'de Map<String, Value>, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries { entries: entries.iter(), fields: None, next: None, of: self })
    }

    /// A number of any width: the visitor says what does not fit.
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_u64(0),
            Value::Number(number) => {
                let result = if let Some(number) = number.as_u64() {
                    visitor.visit_u64(number)
                } else if let Some(number) = number.as_i64() {
                    visitor.visit_i64(number)
                } else {
                    // Controllers that count in floating point write 50.0 (Argo Rollouts).
                    let number = number.as_f64().unwrap_or_default();
                    #[allow(
                        clippy::cast_possible_truncation,
                        reason = "a whole number below 2^53 by the check before"
                    )]
                    if number.fract() == 0.0 && number.abs() < 9e15 {
                        visitor.visit_i64(number as i64)
                    } else {
                        visitor.visit_f64(number)
                    }
                };
                result.map_err(|fault: Fault| fault.at(self.here))
            }
            _ => self.wrong(&"a whole number"),
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.number(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Fault;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(_) => self.number(visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => self.list(items, visitor),
            Value::Object(entries) => self.map(entries, visitor),
        }
        .map_err(|fault| fault.at(self.here))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => self.wrong(&"true or false"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            _ => self.wrong(&"a number"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => self.wrong(&"a text"),
        }
        .map_err(|fault| fault.at(self.here))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(instead) = name.strip_prefix(NOT_YET) {
            self.notices.borrow_mut().push(Notice::NotYet { path: self.here.path(), instead });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => self.list(&[], visitor),
            Value::Array(items) => self.list(items, visitor),
            _ => self.wrong(&"a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_map(Nothing),
            Value::Object(entries) => self.map(entries, visitor),
            _ => self.wrong(&"a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_map(Nothing),
            Value::Object(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                fields: Some(fields),
                next: None,
                of: self,
            }),
            _ => self.wrong(&"a map of fields"),
        }
        .map_err(|fault| fault.at(self.here))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::String(text) => {
                let text: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(text).map_err(|fault| fault.at(self.here))
            }
            _ => self.wrong(&"one of the names that the field takes"),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

/// The items of a list.
struct Items<'de, 'a> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    of: Reader<'de, 'a>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        let here = Here::Index(self.of.here, index);
        seed.deserialize(Reader { value, here: &here, notices: self.of.notices })
            .map(Some)
            .map_err(|fault| fault.at(&here))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a map, or the fields of a struct.
struct Entries<'de, 'a> {
    entries: serde_json::map::Iter<'de>,
    /// Of a struct.
    fields: Option<&'static [&'static str]>,
    next: Option<(&'de str, &'de Value)>,
    of: Reader<'de, 'a>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        for (name, value) in self.entries.by_ref() {
            if let Some(fields) = self.fields {
                if !fields.contains(&name.as_str()) {
                    let path = self.of.here.path().key(name);
                    self.of.notices.borrow_mut().push(Notice::Unknown { path, fields });
                    continue;
                }
                if value.is_null() {
                    continue;
                }
            }
            self.next = Some((name, value));
            let key: BorrowedStrDeserializer<'de, Fault> = BorrowedStrDeserializer::new(name);
            return seed.deserialize(key).map(Some).map_err(|fault| fault.at(&Here::Key(self.of.here, name)));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (name, value) = self.next.take().ok_or_else(|| Fault::custom("a value without its key"))?;
        let here = Here::Key(self.of.here, name);
        seed.deserialize(Reader { value, here: &here, notices: self.of.notices })
            .map_err(|fault| fault.at(&here))
    }
}

/// The entries of null.
struct Nothing;

impl<'de> MapAccess<'de> for Nothing {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _seed: K) -> Result<Option<K::Value>, Fault> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _seed: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("null has no values"))
    }
}

/// The name that was likely meant: the same letters in other case or with underscores, or one that is a typing error away.
pub(crate) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let fold = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let folded = fold(name);
    if folded.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|&known| (strsim::damerau_levenshtein(&folded, &fold(known)), known))
        // A third of the letters may differ: `weigth` is `weight`, `foo` is nothing.
        .filter(|&(distance, known)| distance * 3 <= known.len().max(3))
        .min()
        .map(|(_, known)| known)
}
