//! Avro binary as JSON values. Numbers, dates and instants stay what Avro wrote; a symbol is a word.

use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, Layout, Node, NodeId};

/// What is left to read.
struct Reader<'l, 'b> {
    layout: &'l Layout,
    rest: &'b [u8],
    /// Items that lists and maps may still have, all together: no more than there are bytes, or a few bytes could ask for
    /// any amount of memory, as items such as null take none.
    items: usize,
}

const CUT: &str = "they end early";
const TOO_MANY: &str = "lists and maps claim more items than there are bytes";
const TOO_DEEP: &str = "values lie deeper within each other than any record of the contract";

impl Layout {
    /// Reads a value and moves `bytes` behind it. The error says what is wrong with the bytes.
    pub(crate) fn read(&self, bytes: &mut &[u8]) -> Result<Value, &'static str> {
        let mut reader = Reader { layout: self, rest: bytes, items: bytes.len() };
        let value = reader.node(self.root, DEPTH_MAX)?;
        *bytes = reader.rest;
        Ok(value)
    }
}

impl Reader<'_, '_> {
    fn node(&mut self, id: NodeId, depth: usize) -> Result<Value, &'static str> {
        let layout = self.layout;
        match layout.node(id) {
            Node::Null => Ok(Value::Null),
            Node::Boolean => match self.array()? {
                [0] => Ok(Value::Bool(false)),
                [1] => Ok(Value::Bool(true)),
                _ => Err("a boolean is neither 0 nor 1"),
            },
            Node::Int | Node::Date => self.int().map(Value::from),
            Node::Long | Node::Instant => self.long().map(Value::from),
            Node::Float => number(f32::from_le_bytes(self.array()?).into()),
            Node::Double => number(f64::from_le_bytes(self.array()?)),
            Node::Text => self.text().map(Value::from),
            Node::Uuid => {
                let text = self.text()?;
                let uuid: Result<uuid::Uuid, _> = text.parse();
                uuid.map(|_| Value::from(text)).map_err(|_| "text is not a UUID")
            }
            Node::Enum(symbols) => {
                let symbol = usize::try_from(self.int()?).ok().and_then(|at| symbols.get(at));
                symbol.map(|word| Value::from(word.as_str())).ok_or("an enum has no such symbol")
            }
            Node::Union(branches) => {
                let branch = usize::try_from(self.int()?).ok().and_then(|at| branches.get(at));
                let branch = branch.ok_or("a union has no such branch")?;
                self.node(*branch, deeper(depth)?)
            }
            Node::List(items) => {
                let (depth, mut list) = (deeper(depth)?, Vec::new());
                self.blocks(|reader| {
                    list.push(reader.node(*items, depth)?);
                    Ok(())
                })?;
                Ok(Value::Array(list))
            }
            Node::Map(values) => {
                let (depth, mut object) = (deeper(depth)?, Map::new());
                self.blocks(|reader| {
                    let key = reader.text()?.to_owned();
                    object.insert(key, reader.node(*values, depth)?);
                    Ok(())
                })?;
                Ok(Value::Object(object))
            }
            Node::Record { fields, .. } => {
                let (depth, mut object) = (deeper(depth)?, Map::new());
                for field in fields {
                    object.insert(field.name.clone(), self.node(field.node, depth)?);
                }
                Ok(Value::Object(object))
            }
            Node::Foreign => Err("their schema has a type that the contract does not use"),
        }
    }

    /// The items of a list or map, block by block.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                let _bytes_of_the_block = self.long()?;
            }
            let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            self.items = self.items.checked_sub(count).ok_or(TOO_MANY)?;
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn text(&mut self) -> Result<&str, &'static str> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| "text is not UTF-8")
    }

    fn int(&mut self) -> Result<i32, &'static str> {
        i32::try_from(self.long()?).map_err(|_| "a number has more than 32 bits")
    }

    /// A zigzag number in groups of seven bits, lowest first.
    fn long(&mut self) -> Result<i64, &'static str> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let group = u64::from(byte & 0x7f);
            if group << shift >> shift != group {
                break;
            }
            number |= group << shift;
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err("a number has more than 64 bits")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// JSON has no infinity and no NaN; null would be another value.
fn number(number: f64) -> Result<Value, &'static str> {
    Number::from_f64(number).map(Value::Number).ok_or("a number is not finite")
}

fn deeper(depth: usize) -> Result<usize, &'static str> {
    depth.checked_sub(1).ok_or(TOO_DEEP)
}
