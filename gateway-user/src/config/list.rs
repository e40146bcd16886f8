//! Lists of values.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    problem::Problems,
    read::{At, Maybe, Must, Read},
    tree::{Node, Value},
};

/// A list of at least `MIN` entries.
#[derive(Debug)]
pub(super) struct List<T, const MIN: usize> {
    items: Vec<At<T>>,
    /// Every entry could be read.
    complete: bool,
}

impl<T: Read, const MIN: usize> Read for List<T, MIN> {
    const KEYS: &'static [&'static str] = T::KEYS;

    fn example() -> String {
        format!("[{}]", T::example())
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            problems.error(
                node.at,
                format!("`{key}` must be a list, this is {}", node.value.kind()),
                format!(
                    "write `{key}: [{}]`, or one entry a line, each after a `-`",
                    T::example()
                ),
            );
            return None;
        };
        if nodes.len() < MIN {
            let hint = format!("add an entry such as `{}`", T::example());
            problems.error(node.at, format!("`{key}` is empty"), hint);
        }
        let items: Vec<_> = nodes
            .iter()
            .filter_map(|node| At::read(node, key, problems))
            .collect();
        let complete = items.len() == nodes.len();
        Some(Self { items, complete })
    }
}

/// A key with a list.
pub(super) trait Entries<T> {
    /// Those that could be read.
    fn entries(&self) -> &[At<T>];

    /// Whether all could be read. If not, a name that is not found is not news.
    fn is_complete(&self) -> bool;
}

impl<T, const MIN: usize> Entries<T> for Must<List<T, MIN>> {
    fn entries(&self) -> &[At<T>] {
        self.as_ref().map_or(&[], |list| &list.items)
    }

    fn is_complete(&self) -> bool {
        self.as_ref().is_some_and(|list| list.complete)
    }
}

impl<T, const MIN: usize> Entries<T> for Maybe<List<T, MIN>> {
    fn entries(&self) -> &[At<T>] {
        self.as_ref().map_or(&[], Entries::entries)
    }

    fn is_complete(&self) -> bool {
        self.as_ref().is_none_or(Entries::is_complete)
    }
}

/// One value, or a list of at least one.
#[derive(Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<At<T>>);

impl<T: Read> Read for OneOrMore<T> {
    fn example() -> String {
        T::example()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        match node.value {
            Value::List(_) => Some(Self(List::<T, 1>::read(node, key, problems)?.items)),
            _ => Some(Self(vec![At::read(node, key, problems)?])),
        }
    }
}

impl<T: JsonSchema, const MIN: usize> JsonSchema for List<T, MIN> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "array", "items": generator.subschema_for::<T>() });
        if MIN > 0 {
            schema.insert("minItems".into(), MIN.into());
        }
        schema
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}
