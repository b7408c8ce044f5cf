//! Reads an answer, holds it against its shape, cleans its texts and writes it again, in one pass and without a tree of it.
//!
//! It says what the long way would (parse, clean, check, write), or nothing: then that way is gone, and finds what is wrong.

use std::fmt;

use domain::{Details, DetailsField};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::shape::{Fields, Shape};
use crate::sanitize;

/// What `text` says, when it fits `shape` and has fewer values than `most`.
pub(super) fn read(text: &str, shape: &Shape, most: u64) -> Option<Details> {
    let mut written = Written {
        text: Vec::with_capacity(text.len()),
        fields: Vec::new(),
        is_inside: false,
        left: most,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let part = Part {
        shape,
        written: &mut written,
    };
    part.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let text = String::from_utf8(written.text).ok()?;
    Some(Details::written(text, written.fields))
}

struct Written {
    text: Vec<u8>,
    /// Of the outermost value.
    fields: Vec<DetailsField>,
    is_inside: bool,
    /// Values that may still come, as [`super::weight::values`] counts them.
    left: u64,
}

/// A value that is to come, and where it goes.
struct Part<'a> {
    shape: &'a Shape,
    written: &'a mut Written,
}

/// The name of a field that is to come; its place comes of it.
struct Name<'a> {
    fields: &'a Fields,
    next: usize,
}

/// Goes the long way.
fn unsure<E: Error>() -> E {
    E::custom("not of a shape")
}

impl Written {
    fn count<E: Error>(&mut self, values: u64) -> Result<(), E> {
        // One must be left, since `most` are too many.
        match self.left.checked_sub(values) {
            Some(left @ 1..) => {
                self.left = left;
                Ok(())
            }
            _ => Err(unsure()),
        }
    }

    fn push<E: Error>(
        &mut self,
        is_fit: bool,
        value: &(impl serde::Serialize + ?Sized),
    ) -> Result<(), E> {
        if !is_fit {
            return Err(unsure());
        }
        serde_json::to_writer(&mut self.text, value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of its shape")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.written.count::<E>(1)?;
        self.written.push(self.shape.null, &())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.written.count::<E>(1)?;
        self.written.push(self.shape.boolean, &value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.written.count::<E>(1)?;
        let range = self.shape.number.as_ref();
        let is_fit = range.is_some_and(|range| range.has_unsigned(value));
        self.written.push(is_fit, &value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.written.count::<E>(1)?;
        let range = self.shape.number.as_ref();
        let is_fit = range.is_some_and(|range| range.has_signed(value));
        self.written.push(is_fit, &value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.written.count::<E>(1)?;
        let range = self.shape.number.as_ref();
        let is_fit = range.is_some_and(|range| range.has_float(value));
        self.written.push(is_fit, &value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let text = sanitize::text(value);
        self.written.count::<E>(1 + text.len() as u64 / 64)?;
        let texts = self.shape.text.as_ref();
        let is_fit = texts.is_some_and(|texts| texts.has(&text));
        self.written.push(is_fit, &*text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { shape, written } = self;
        written.count::<A::Error>(1)?;
        written.is_inside = true;
        let shape = shape.list.as_deref().ok_or_else(unsure::<A::Error>)?;
        written.text.push(b'[');
        let begun = written.text.len();
        loop {
            // Before it is known whether one comes; taken back when none does.
            let end = written.text.len();
            if end > begun {
                written.text.push(b',');
            }
            let part = Part { shape, written };
            if items.next_element_seed(part)?.is_none() {
                written.text.truncate(end);
                break;
            }
        }
        written.text.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Self { shape, written } = self;
        written.count::<A::Error>(1)?;
        let is_outermost = !std::mem::replace(&mut written.is_inside, true);
        let fields = shape.object.as_ref().ok_or_else(unsure::<A::Error>)?;
        written.text.push(b'{');
        let (mut seen, mut next) = (0_u64, 0);
        while let Some(place) = object.next_key_seed(Name { fields, next })? {
            let field = fields.at(place);
            if seen & (1 << place) != 0 {
                // Of two fields of one name the last counts.
                return Err(unsure());
            }
            if seen != 0 {
                written.text.push(b',');
            }
            seen |= 1 << place;
            next = place + 1;
            let name = written.text.len()..written.text.len() + field.quoted.len();
            written.text.extend_from_slice(field.quoted.as_bytes());
            written.text.push(b':');
            object.next_value_seed(Part {
                shape: &field.shape,
                written,
            })?;
            if is_outermost {
                let value = name.end + 1..written.text.len();
                written.fields.push(DetailsField { name, value });
            }
        }
        written.text.push(b'}');
        match fields.are_all_in(seen) {
            true => Ok(()),
            false => Err(unsure()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field of its shape")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        self.fields.find(name, self.next).ok_or_else(unsure)
    }
}
