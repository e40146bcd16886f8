//! YAML as a tree in which every value knows its place in the file.
//!
//! The document's own types are read from this tree, not by serde's derive: that
//! stops at the first value it does not like, and people want all of them at once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter, Spanned};

use super::problem::{Place, Problems};

/// Deepest nesting of lists and mappings; a topology needs 6.
const MAX_DEPTH: usize = 64;

/// Most values that aliases may stand for, so that a short file stays a small tree.
const MAX_ALIASED: usize = 100_000;

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A whole number, as YAML understands it.
    Integer(i128),
    /// `true` or `false`.
    Truth(bool),
    /// A number with a fraction or an exponent, or a huge one.
    Fraction,
    /// Text, with or without quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file. Keys are unique.
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping's entry.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) name: String,
}

impl Value {
    /// What it is, for "expected ..., found ...".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Integer(_) => "a number",
            Self::Truth(_) => "a truth value",
            Self::Fraction => "a number with a fraction or an exponent",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: defined.into(),
            value,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self {
            at: defined.into(),
            name: value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Truth(truth))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(i128::try_from(number).map_or(Value::Fraction, Value::Integer))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

/// Reads the file's only document. YAML that cannot be read is one problem: what
/// follows the first wrong character cannot be judged.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| explain(&error, problems))
        .ok()
}

fn explain(error: &Error, problems: &mut Problems) {
    let at = error.location().map_or(Place::START, Place::from);
    let (what, hint) = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{key}` is here a second time"),
            "keep one of the two".to_owned(),
        ),
        Error::MultipleDocuments { .. } => (
            "the file holds more than one YAML document".to_owned(),
            "keep one document and remove the `---` between them".to_owned(),
        ),
        Error::UnknownAnchor { .. } => (
            "this alias names an anchor that does not exist".to_owned(),
            "define it before, as in `key: &name value`, or put quotes around the text".to_owned(),
        ),
        error => {
            let message = DefaultMessageFormatter.format_message(error);
            (
                format!("this is not valid YAML: {message}"),
                remedy(&message).to_owned(),
            )
        }
    };
    problems.error(at, what, hint);
}

/// What usually helps.
fn remedy(message: &str) -> &'static str {
    if message.contains("tab") {
        "indent with spaces"
    } else if message.contains("mapping values are not allowed") {
        "check the indentation of this line and the one before; a value that holds `: ` \
         needs quotes"
    } else if message.contains("quoted scalar") || message.contains("EOF") {
        "look for a missing quote or bracket above"
    } else {
        "check indentation, quotes and brackets of this line and the one before"
    }
}
