//! From the YAML tree to typed values: what is there, what is missing, what is too
//! much, what has the wrong shape. Nothing here stops at the first problem.

use std::{borrow::Cow, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    problem::{Place, Problems},
    tree::{Key, Node, Value},
};

/// A type that can be read from a node.
pub(super) trait Read: Sized {
    /// An example as people write it, for "add ...".
    fn example() -> String;

    /// The keys of a record, or of a list's records.
    const KEYS: &'static [&'static str] = &[];

    /// Reads the value of `key`. `None` when a problem was reported and there is
    /// nothing to go on with.
    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self>;
}

/// A value with its place in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Read> At<T> {
    pub(super) fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        Some(Self {
            value: T::read(node, key, problems)?,
            at: node.at,
        })
    }
}

/// A key that may be left out.
pub(super) type Maybe<T> = Option<Must<T>>;

/// A key that is there. Empty when it was reported as missing or wrong.
#[derive(Debug)]
pub(super) struct Must<T>(Option<At<T>>);

impl<T> Must<T> {
    /// A value that is there.
    pub(super) fn there(value: T, at: Place) -> Self {
        Self(Some(At { value, at }))
    }
}

impl<T> Deref for Must<T> {
    type Target = Option<At<T>>;

    fn deref(&self) -> &Option<At<T>> {
        &self.0
    }
}

/// What became of a key that may be left out.
pub(super) trait Optional<T> {
    /// The value, if there is one.
    fn given(&self) -> Option<&At<T>>;

    /// The value, or the default if the key is left out. `None` if it was reported
    /// as wrong: the default would lead to problems that are none.
    fn or_default(&self, default: impl FnOnce() -> T) -> Option<T>
    where
        T: Copy;
}

impl<T> Optional<T> for Maybe<T> {
    fn given(&self) -> Option<&At<T>> {
        self.as_ref()?.as_ref()
    }

    fn or_default(&self, default: impl FnOnce() -> T) -> Option<T>
    where
        T: Copy,
    {
        match self {
            None => Some(default()),
            Some(there) => there.as_ref().map(|found| found.value),
        }
    }
}

/// The keys of a record: required ones and others.
pub(super) trait Field: Sized {
    /// The keys of the value, when that is a record or a list of records.
    const KEYS: &'static [&'static str];

    /// Reads the key of a record from its node, if there is one.
    fn field(node: Option<&Node>, record: &Record<'_>, key: &str, problems: &mut Problems) -> Self;
}

impl<T: Read> Field for Maybe<T> {
    const KEYS: &'static [&'static str] = T::KEYS;

    fn field(node: Option<&Node>, _: &Record<'_>, key: &str, problems: &mut Problems) -> Self {
        match node {
            None
            | Some(Node {
                value: Value::Null, ..
            }) => None,
            Some(node) => Some(Must(At::read(node, key, problems))),
        }
    }
}

impl<T: Read> Field for Must<T> {
    const KEYS: &'static [&'static str] = T::KEYS;

    fn field(node: Option<&Node>, record: &Record<'_>, key: &str, problems: &mut Problems) -> Self {
        let (at, what) = match node {
            Some(Node {
                value: Value::Null,
                at,
            }) => (*at, format!("`{key}` is empty")),
            Some(node) => return Self(At::read(node, key, problems)),
            None if record.meant.contains(&key) => return Self(None),
            None => (record.at, format!("{} needs `{key}`", record.noun)),
        };
        problems.error(
            at,
            what,
            format!("add it, for example `{key}: {}`", T::example()),
        );
        Self(None)
    }
}

/// A mapping with known keys.
pub(super) struct Record<'a> {
    at: Place,
    noun: &'static str,
    entries: &'a [(Key, Node)],
    /// Known keys that a misspelt one probably stands for: they are not missing.
    meant: Vec<&'static str>,
}

/// A key of a record, and the keys that its own value may have.
pub(super) type KnownKey = (&'static str, &'static [&'static str]);

impl<'a> Record<'a> {
    /// Checks that the node is a mapping and reports keys that do not belong there.
    pub(super) fn new(
        node: &'a Node,
        noun: &'static str,
        keys: &[KnownKey],
        example: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            problems.error(
                node.at,
                format!(
                    "{noun} must be a mapping with keys, this is {}",
                    node.value.kind()
                ),
                format!("write it as `{example}`"),
            );
            return None;
        };
        let mut record = Self {
            at: node.at,
            noun,
            entries,
            meant: Vec::new(),
        };
        for (key, _) in entries {
            if keys.iter().all(|(known, _)| *known != key.name) {
                let hint = record.correction(&key.name, keys);
                problems.error(key.at, format!("{noun} has no key `{}`", key.name), hint);
            }
        }
        Some(record)
    }

    /// What to do about a key that is not known.
    fn correction(&mut self, wrong: &str, keys: &[KnownKey]) -> String {
        let names = || keys.iter().map(|(name, _)| *name);
        if let Some((inner, _)) = keys.iter().find(|(_, inner)| inner.contains(&wrong)) {
            return format!("`{wrong}` belongs into `{inner}`");
        }
        let entries = self.entries;
        let absent = |name: &&str| entries.iter().all(|(key, _)| key.name != *name);
        match similar(wrong, names().filter(absent)) {
            Some(meant) => {
                self.meant.push(meant);
                format!("did you mean `{meant}`?")
            }
            None => format!("its keys are {}", listed(names())),
        }
    }

    /// Reads one of the known keys.
    pub(super) fn field<F: Field>(&self, key: &str, problems: &mut Problems) -> F {
        let node = self
            .entries
            .iter()
            .find(|(found, _)| found.name == key)
            .map(|(_, node)| node);
        F::field(node, self, key, problems)
    }
}

/// Defines a record of the document: the type, its schema and how it is read, from
/// one list of keys.
macro_rules! record {
    ($(
        $(#[$about:meta])*
        $name:ident = $noun:literal, $example:literal {
            $( $(#[$doc:meta])* $field:ident: $type:ty, )*
        }
    )*) => { $(
        #[derive(Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$about])*
        pub(in crate::config) struct $name {
            $( $(#[$doc])* pub(in crate::config) $field: $type, )*
        }

        impl $crate::config::read::Read for $name {
            const KEYS: &'static [&'static str] = &[$( stringify!($field) ),*];

            fn example() -> String {
                $example.into()
            }

            fn read(
                node: &$crate::config::tree::Node,
                _key: &str,
                problems: &mut $crate::config::problem::Problems,
            ) -> Option<Self> {
                let keys = [$( (
                    stringify!($field),
                    <$type as $crate::config::read::Field>::KEYS,
                ) ),*];
                let record = $crate::config::read::Record::new(
                    node, $noun, &keys, $example, problems,
                )?;
                Some(Self { $( $field: record.field(stringify!($field), problems), )* })
            }
        }
    )* };
}
pub(super) use record;

/// The name that is most like a wrong one, if any is.
pub(super) fn similar<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    // One slip in three letters: fewer would miss `underlay-mtu`, more would guess.
    let tolerated = (wrong.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&wrong, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "`a`, `b` and `c`", for at most a dozen names.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let mut names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.len() > MOST {
        let rest = names.len() - MOST;
        names.truncate(MOST);
        names.push(format!("{rest} more"));
    }
    let last = names.pop().unwrap_or_else(|| "none".into());
    if names.is_empty() {
        last
    } else {
        format!("{} and {last}", names.join(", "))
    }
}

/// A value's place does not show in the schema.
macro_rules! same_schema {
    ($( $outer:ident )*) => { $(
        impl<T: JsonSchema> JsonSchema for $outer<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    )* };
}

same_schema! { At Must }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = ["vtep", "name", "underlay_mtu", "instances"];
        assert_eq!(similar("vtpe", names), Some("vtep"));
        assert_eq!(similar("Name", names), Some("name"));
        assert_eq!(similar("underlay-mtu", names), Some("underlay_mtu"));
        assert_eq!(similar("instance", names), Some("instances"));
        assert_eq!(similar("bogus", names), None);
        assert_eq!(similar("db-1", ["web-1"]), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(listed([]), "none");
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert!(listed(many.iter().map(String::as_str)).ends_with("`11` and 8 more"));
    }
}
