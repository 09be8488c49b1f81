//! Where in a file a thing is said, so that a message can point there. It reads the file a second time, as a plain tree
//! of keys; what the keys mean it does not know.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// A place in a file, counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// The keys of a file and where they stand.
#[derive(Debug)]
enum Tree {
    Map(Vec<(Spanned<String>, Tree)>),
    List(Vec<Spanned<Tree>>),
    Leaf,
}

/// Where a place such as `states.send.on.accepted` or `invariants[2]` is written. Where the file does not say it, as for
/// a key that is missing, the nearest thing around it that is said. Nothing for what the file does not speak of at all.
pub(crate) fn position(yaml: &str, place: &str) -> Option<Position> {
    let tree: Tree = serde_saphyr::from_str(yaml).ok()?;
    let mut found = None;
    let (mut here, mut rest) = (&tree, place);
    while let Some((at, inner, remaining)) = here.step(rest) {
        found = Position::of(at);
        (here, rest) = (inner, remaining);
    }
    found
}

impl Position {
    /// The position of a location of the parser; nothing where it does not know one.
    pub(crate) fn of(location: Location) -> Option<Self> {
        let (line, column) = (location.line(), location.column());
        (line > 0).then_some(Self { line, column })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Tree {
    /// The next part of a place: where it stands, what is under it, and the parts that remain.
    fn step<'a, 'p>(&'a self, place: &'p str) -> Option<(Location, &'a Self, &'p str)> {
        match self {
            Self::Map(entries) => {
                // Keys may hold dots and spaces, as `any [clear, released]`; the longest that fits is meant.
                let fitting = entries.iter().filter_map(|(key, inner)| {
                    let rest = place.strip_prefix(key.value.as_str())?;
                    let rest = rest.strip_prefix('.').or_else(|| {
                        (rest.is_empty() || rest.starts_with(['[', ' '])).then_some(rest)
                    })?;
                    Some((key, inner, rest))
                });
                let (key, inner, rest) = fitting.max_by_key(|(key, ..)| key.value.len())?;
                Some((key.referenced, inner, rest))
            }
            Self::List(items) => {
                let (index, rest) = place.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.referenced, &item.value, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Self::Leaf => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Tree, D::Error> {
        IgnoredAny::deserialize(inner).map(|_| Tree::Leaf)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "journey: payout\nstates:\n  send:\n    call: payout.send\n    on:\n      any [a, b]: {as: executed, go: end}\n  ask:\n    choose:\n      - when: x\n        go: y\n      - otherwise: z\ninvariants:\n  - one\n  - two\n";

    #[test]
    fn a_place_is_found_where_it_is_written_or_as_near_as_can_be() {
        let rows = [
            ("journey", Some((1, 1))),
            ("states.send", Some((3, 3))),
            ("states.send.call", Some((4, 5))),
            ("states.send.on.any [a, b]", Some((6, 7))),
            ("states.send.on.any [a, b].go", Some((6, 34))),
            ("states.send.within", Some((3, 3))),
            ("states.ask.choose[1]", Some((11, 9))),
            ("invariants[1]", Some((14, 5))),
            ("events", None),
        ];
        for (place, expected) in rows {
            let found = position(FILE, place).map(|at| (at.line, at.column));
            assert_eq!(found, expected, "{place}");
        }
    }
}
