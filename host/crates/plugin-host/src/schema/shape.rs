//! The usual schema, as what a value may be: objects that list their fields and have no others, lists of one kind, texts and
//! numbers. Such a schema is told apart from all others when it is compiled.
//!
//! A shape says of a value that it fits, or nothing. What it does not vouch for goes to the validator, which knows every word and
//! finds the faults; so that a shape makes checks quick, and no answer another.

use serde_json::{Map, Number, Value};

use super::weight::Weight;

/// The one draft whose words are meant; a schema that names none is of it too.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Words that say nothing about which values fit. `$defs` is looked at where something refers to it.
const NOTES: [&str; 8] = [
    "$defs",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "readOnly",
    "writeOnly",
];
/// Fields of one object; they are marked off in one number.
const MOST_FIELDS: usize = u64::BITS as usize;
/// Integers up to this size are 64-bit floats exactly.
const EXACT: u64 = 1 << 53;

/// What a value may be; each kind by itself.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) null: bool,
    pub(super) boolean: bool,
    pub(super) number: Option<Range>,
    pub(super) text: Option<Texts>,
    /// Of items like this.
    pub(super) list: Option<Box<Shape>>,
    pub(super) object: Option<Fields>,
}

/// Numbers from one to another.
#[derive(Debug)]
pub(super) struct Range {
    whole: bool,
    least: f64,
    most: f64,
}

/// Texts.
#[derive(Debug)]
pub(super) enum Texts {
    All,
    Only(Vec<String>),
}

/// Fields of an object.
#[derive(Debug)]
pub(super) struct Fields {
    all: Vec<Field>,
    /// A bit for each that has to be there.
    required: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Field {
    name: String,
    /// The name as JSON.
    pub(super) quoted: String,
    pub(super) shape: Shape,
}

impl Shape {
    /// What fits a schema; none when it has a word that a shape does not know.
    pub(super) fn of(schema: &Value, weight: &Weight) -> Option<Self> {
        match schema.get("$schema") {
            // Written out it would have no end.
            _ if weight.is_recursive => None,
            Some(draft) if draft != DRAFT => None,
            _ => shape(schema, schema, true),
        }
    }

    /// Whether a value is known to fit. `count` grows by the values that were looked at, as [`super::weight::values`] has them.
    pub(super) fn fits(&self, value: &Value, count: &mut u64) -> bool {
        *count += 1;
        match value {
            Value::Null => self.null,
            Value::Bool(_) => self.boolean,
            Value::Number(number) => self.number.as_ref().is_some_and(|range| range.has(number)),
            Value::String(text) => {
                *count += text.len() as u64 / 64;
                self.text.as_ref().is_some_and(|texts| texts.has(text))
            }
            Value::Array(items) => match &self.list {
                Some(shape) => items.iter().all(|item| shape.fits(item, count)),
                None => false,
            },
            Value::Object(object) => match &self.object {
                Some(fields) => fields.fit(object, count),
                None => false,
            },
        }
    }
}

impl Range {
    fn has(&self, number: &Number) -> bool {
        match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => self.has_unsigned(number),
            (_, Some(number)) => self.has_signed(number),
            _ => number.as_f64().is_some_and(|number| self.has_float(number)),
        }
    }

    pub(super) fn has_unsigned(&self, number: u64) -> bool {
        number <= EXACT && self.spans(number as f64)
    }

    pub(super) fn has_signed(&self, number: i64) -> bool {
        number.unsigned_abs() <= EXACT && self.spans(number as f64)
    }

    /// Whether `1.0` is whole is left to the validator.
    pub(super) fn has_float(&self, number: f64) -> bool {
        !self.whole && self.spans(number)
    }

    fn spans(&self, number: f64) -> bool {
        self.least <= number && number <= self.most
    }
}

impl Texts {
    pub(super) fn has(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(texts) => texts.iter().any(|known| known == text),
        }
    }
}

impl Fields {
    /// The place of a field; `next` is where it is looked for first, since most objects are written in their schema's order.
    pub(super) fn find(&self, name: &str, next: usize) -> Option<usize> {
        match self.all.get(next) {
            Some(field) if field.name == name => Some(next),
            _ => self.all.iter().position(|field| field.name == name),
        }
    }

    pub(super) fn at(&self, place: usize) -> &Field {
        &self.all[place]
    }

    /// Whether all are there that have to be.
    pub(super) fn are_all_in(&self, seen: u64) -> bool {
        seen & self.required == self.required
    }

    fn fit(&self, object: &Map<String, Value>, count: &mut u64) -> bool {
        let (mut seen, mut next) = (0, 0);
        for (name, value) in object {
            let Some(place) = self.find(name, next) else {
                return false;
            };
            if !self.at(place).shape.fits(value, count) {
                return false;
            }
            seen |= 1 << place;
            next = place + 1;
        }
        self.are_all_in(seen)
    }
}

fn shape(root: &Value, schema: &Value, is_root: bool) -> Option<Shape> {
    let words = schema.as_object()?;
    if let Some(reference) = words.get("$ref") {
        let is_alone = words.keys().all(|word| word == "$ref" || is_note(word));
        let pointer = reference.as_str()?.strip_prefix('#')?;
        // A pointer may have characters written as `%25`.
        let is_plain = is_alone && !pointer.contains('%');
        return is_plain.then(|| shape(root, root.pointer(pointer)?, false))?;
    }
    let is_known = |(word, value): (&String, &Value)| match word.as_str() {
        "type"
        | "enum"
        | "minimum"
        | "maximum"
        | "items"
        | "properties"
        | "required"
        | "additionalProperties" => true,
        "$schema" => is_root,
        // The studio's own, for forms.
        "format" => value == "code",
        word => is_note(word),
    };
    if !words.iter().all(is_known) {
        return None;
    }
    let choices = match words.get("enum") {
        Some(choices) => Some(choices.as_array()?),
        None => None,
    };
    let kinds: Vec<&str> = match words.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().map(Value::as_str).collect::<Option<_>>()?,
        // Choices say of themselves what kind they are.
        None if choices.is_some() => vec!["null", "string"],
        _ => return None,
    };
    let may_be = |kind: &str| kinds.contains(&kind);
    if let Some(choices) = choices {
        return chosen(choices, &may_be);
    }
    let part = |schema: &Value| shape(root, schema, false);
    Some(Shape {
        null: may_be("null"),
        boolean: may_be("boolean"),
        number: match may_be("number") || may_be("integer") {
            true => Some(Range {
                whole: !may_be("number"),
                least: bound(words.get("minimum"), f64::NEG_INFINITY)?,
                most: bound(words.get("maximum"), f64::INFINITY)?,
            }),
            false => None,
        },
        text: may_be("string").then_some(Texts::All),
        list: match may_be("array") {
            true => Some(Box::new(part(words.get("items")?)?)),
            false => None,
        },
        object: match may_be("object") {
            true => Some(fields(words, part)?),
            false => None,
        },
    })
}

fn is_note(word: &str) -> bool {
    NOTES.contains(&word)
}

/// Of an `enum`, when it has nothing but texts and null.
fn chosen(choices: &[Value], may_be: &dyn Fn(&str) -> bool) -> Option<Shape> {
    let mut texts = Vec::new();
    let mut null = false;
    for choice in choices {
        match choice {
            Value::Null => null = true,
            Value::String(text) => texts.push(text.clone()),
            _ => return None,
        }
    }
    Some(Shape {
        null: null && may_be("null"),
        text: may_be("string").then_some(Texts::Only(texts)),
        ..Shape::default()
    })
}

fn bound(word: Option<&Value>, none: f64) -> Option<f64> {
    let Some(word) = word else {
        return Some(none);
    };
    match word.as_i64() {
        Some(bound) => (bound.unsigned_abs() <= EXACT).then_some(bound as f64),
        None => word.as_f64().filter(|_| word.is_f64()),
    }
}

fn fields(words: &Map<String, Value>, part: impl Fn(&Value) -> Option<Shape>) -> Option<Fields> {
    if words.get("additionalProperties") != Some(&Value::Bool(false)) {
        return None;
    }
    let properties = words.get("properties")?.as_object()?;
    if properties.len() > MOST_FIELDS {
        return None;
    }
    let field = |(name, schema): (&String, &Value)| {
        Some(Field {
            name: name.clone(),
            quoted: Value::from(name.as_str()).to_string(),
            shape: part(schema)?,
        })
    };
    let mut fields = Fields {
        all: properties.iter().map(field).collect::<Option<_>>()?,
        required: 0,
    };
    let names = match words.get("required") {
        Some(names) => names.as_array()?.as_slice(),
        None => &[],
    };
    for name in names {
        fields.required |= 1 << fields.find(name.as_str()?, 0)?;
    }
    Some(fields)
}
