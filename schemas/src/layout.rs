//! A schema laid out for reading and writing: what of it matters for bytes, with names resolved, compiled once. Between
//! Avro binary and JSON values it goes in one step, and it is strict both ways: nothing is cut short, nothing left over,
//! no field unknown, none missing. It does not resolve a writer's schema against a reader's: see `record`.

use apache_avro::Schema;
use apache_avro::schema::UuidSchema;
use serde_json::Value;
use std::collections::HashMap;

mod read;
mod write;

/// Most records, lists and maps within each other. A recursive schema could otherwise exhaust the stack.
const DEPTH_MAX: usize = 64;

/// The value does not fit the schema. The caller's to correct; `path` leads to the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct EncodeError {
    /// Dotted path of the field.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A schema, laid out.
pub(crate) struct Layout {
    nodes: Vec<Node>,
    root: NodeId,
}

/// Position among the nodes of its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeId(usize);

/// One type.
#[derive(Debug)]
enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Uuid,
    Date,
    Instant,
    Enum(Vec<String>),
    List(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record {
        name: String,
        fields: Vec<Field>,
    },
    /// A type that the contract does not use: no value of it is read or written.
    Foreign,
}

#[derive(Debug)]
struct Field {
    name: String,
    node: NodeId,
    default: Option<Value>,
}

impl Layout {
    /// Lays a schema out. A named type is defined where it is first mentioned; after that its name may stand for it.
    pub(crate) fn of(schema: &Schema) -> Self {
        let mut nodes = Vec::new();
        let root = lay_out(schema, &mut nodes, &mut HashMap::new());
        Self { nodes, root }
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&Node::Foreign)
    }
}

/// Adds the nodes of a schema and tells where the first of them is. A named type is laid out once.
fn lay_out(schema: &Schema, nodes: &mut Vec<Node>, named: &mut HashMap<String, NodeId>) -> NodeId {
    if let Some(name) = schema.name() {
        let name = name.fullname(None);
        if let Some(known) = named.get(&name) {
            return *known;
        }
        named.insert(name, NodeId(nodes.len()));
    }
    // Its place is taken first, so that it can be mentioned within itself.
    let id = NodeId(nodes.len());
    nodes.push(Node::Foreign);
    let node = match schema {
        Schema::Null => Node::Null,
        Schema::Boolean => Node::Boolean,
        Schema::Int | Schema::TimeMillis => Node::Int,
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Node::Long,
        Schema::Float => Node::Float,
        Schema::Double => Node::Double,
        Schema::String => Node::Text,
        Schema::Uuid(UuidSchema::String) => Node::Uuid,
        Schema::Date => Node::Date,
        Schema::TimestampMicros => Node::Instant,
        Schema::Enum(symbols) => Node::Enum(symbols.symbols.clone()),
        Schema::Array(array) => Node::List(lay_out(&array.items, nodes, named)),
        Schema::Map(map) => Node::Map(lay_out(&map.types, nodes, named)),
        Schema::Union(union) => {
            let branches = union.variants().iter();
            Node::Union(branches.map(|branch| lay_out(branch, nodes, named)).collect())
        }
        Schema::Record(record) => {
            let field = |field: &apache_avro::schema::RecordField| Field {
                name: field.name.clone(),
                node: lay_out(&field.schema, nodes, named),
                default: field.default.clone(),
            };
            Node::Record {
                name: record.name.to_string(),
                fields: record.fields.iter().map(field).collect(),
            }
        }
        Schema::Ref { .. }
        | Schema::Bytes
        | Schema::Fixed(_)
        | Schema::Decimal(_)
        | Schema::BigDecimal
        | Schema::Duration(_)
        | Schema::Uuid(_) => Node::Foreign,
    };
    if let Some(place) = nodes.get_mut(id.0) {
        *place = node;
    }
    id
}
