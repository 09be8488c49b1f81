//! Guards and templates: a subset of CEL over the facts of a flow, parsed by the `cel` crate, typed by the contract here.
//! One evaluator serves both uses: it is three-valued, so `step` gets answers and the checker gets "unknown".
//! It has no loops, no arithmetic and no clock.

use cel::common::ast::{CallExpr, Expr as Ast, LiteralValue, SelectExpr, operators};
use cel::parser::Parser;
use serde_json::Value;
use signalbox_schemas::{Money, StepName, SubjectId, TenantKey, Type, account_problems};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::FlowData;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// A constant.
    Literal(Value),
    /// A fact of the flow.
    Fact(Fact),
    /// A function of facts.
    Apply(Function, Box<Expression>),
    /// Negation.
    Not(Box<Expression>),
    /// Both.
    And(Box<Expression>, Box<Expression>),
    /// Either.
    Or(Box<Expression>, Box<Expression>),
    /// A comparison.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// Membership in a list of constants.
    In(Box<Expression>, Vec<Value>),
}

/// What a journey may look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    /// A field of the command that started the flow, by path.
    Command(Vec<String>),
    /// Whether an interrupt is remembered.
    Remembered(String),
    /// What a step learnt.
    Call(StepName, CallFact),
}

/// What can be asked about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFact {
    /// Its outcome's word, or a person's ruling over it.
    Outcome,
    /// Canonical reason.
    Reason,
    /// Problems to be shown to the caller.
    Problems,
    /// The attempt's id.
    Attempt,
}

/// Functions, each of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Function {
    /// Whether an account's identifiers can be right.
    AccountIsValid,
    /// What is wrong with an account, field by field; holds the account's path in the command.
    AccountProblems(String),
    /// Whether an amount is payable in its currency.
    MoneyIsValid,
    /// As whom a party would be known under the customer's id.
    Likeness,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
}

/// What is in scope while a journey is compiled.
pub(crate) struct Scope {
    /// The command's type.
    pub(crate) command: Type,
    /// Steps and the type of their outcome's word.
    pub(crate) steps: BTreeMap<StepName, Type>,
    /// Interrupts that can be remembered.
    pub(crate) commands: Vec<String>,
    /// Type of one problem, as the contract defines it.
    pub(crate) problem: Type,
    /// Lengths of time by name; in a record they are milliseconds.
    pub(crate) parameters: BTreeMap<String, Duration>,
}

/// Where the evaluator finds facts. Without a command, what depends on it is unknown, and so is what comes with outcomes.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The command, or nothing while a journey is checked.
    pub(crate) command: Option<&'a Value>,
    /// What the flow has learnt.
    pub(crate) data: &'a FlowData,
    /// Secret from which likenesses are derived.
    pub(crate) key: &'a TenantKey,
    /// Whom the flow is about.
    pub(crate) subject: SubjectId,
}

impl Expression {
    /// Parses and types an expression. The error says what is wrong and what to do.
    pub(crate) fn parse(text: &str, scope: &Scope) -> Result<(Self, Type), String> {
        let parsed = Parser::default().parse(text).map_err(|errors| {
            let first = errors.errors.first().map_or_else(String::new, |error| error.msg.clone());
            format!("`{text}` is not an expression: {first}")
        })?;
        compile(&parsed.expr, scope).map_err(|problem| format!("`{text}`: {problem}"))
    }

    /// The value, or nothing where it is unknown.
    pub(crate) fn value<'a>(&'a self, facts: Facts<'a>) -> Option<Cow<'a, Value>> {
        match self {
            Self::Literal(value) => Some(Cow::Borrowed(value)),
            Self::Fact(fact) => fact.value(facts),
            Self::Apply(function, argument) => {
                argument.value(facts).map(|value| Cow::Owned(function.apply(&value, facts)))
            }
            Self::Not(_) | Self::And(..) | Self::Or(..) | Self::Compare(..) | Self::In(..) => {
                self.holds(facts).map(|holds| Cow::Owned(Value::Bool(holds)))
            }
        }
    }

    /// Whether it is true; nothing where that is unknown. Kleene's logic: `false && unknown` is false.
    pub(crate) fn holds(&self, facts: Facts<'_>) -> Option<bool> {
        match self {
            Self::Not(inner) => inner.holds(facts).map(|holds| !holds),
            Self::And(left, right) => match (left.holds(facts), right.holds(facts)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.holds(facts), right.holds(facts)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Compare(comparison, left, right) => {
                Some(comparison.holds(&*left.value(facts)?, &*right.value(facts)?))
            }
            Self::In(item, list) => item.value(facts).map(|item| list.contains(&item)),
            Self::Literal(_) | Self::Fact(_) | Self::Apply(..) => {
                self.value(facts).map(|value| value.as_bool().unwrap_or(false))
            }
        }
    }

    /// Words that it compares with.
    pub(crate) fn words(&self) -> Vec<&str> {
        match self {
            Self::Literal(value) => value.as_str().into_iter().collect(),
            Self::Fact(_) => Vec::new(),
            Self::Apply(_, inner) | Self::Not(inner) => inner.words(),
            Self::In(inner, list) => {
                inner.words().into_iter().chain(list.iter().filter_map(Value::as_str)).collect()
            }
            Self::And(left, right) | Self::Or(left, right) | Self::Compare(_, left, right) => {
                left.words().into_iter().chain(right.words()).collect()
            }
        }
    }

    /// Steps that it looks at, each as often as it does.
    pub(crate) fn steps(&self) -> Vec<&StepName> {
        match self {
            Self::Fact(Fact::Call(step, _)) => vec![step],
            Self::Fact(Fact::Command(_) | Fact::Remembered(_)) | Self::Literal(_) => Vec::new(),
            Self::Apply(_, inner) | Self::Not(inner) | Self::In(inner, _) => inner.steps(),
            Self::And(left, right) | Self::Or(left, right) | Self::Compare(_, left, right) => {
                left.steps().into_iter().chain(right.steps()).collect()
            }
        }
    }
}

impl Fact {
    fn value<'a>(&'a self, facts: Facts<'a>) -> Option<Cow<'a, Value>> {
        match self {
            Self::Command(path) => {
                let found = path.iter().try_fold(facts.command?, |value, field| value.get(field));
                Some(found.map_or(Cow::Owned(Value::Null), Cow::Borrowed))
            }
            Self::Remembered(name) => Some(Cow::Owned(Value::Bool(
                facts.data.remembered.get(name).copied().unwrap_or(false),
            ))),
            Self::Call(step, fact) => {
                let Some(call) = facts.data.calls.get(step) else {
                    return Some(Cow::Owned(Value::Null));
                };
                let text = |text: Option<&String>| {
                    text.map_or(Value::Null, |text| Value::String(text.clone()))
                };
                // The checker follows outcomes only.
                if facts.command.is_none() && *fact != CallFact::Outcome {
                    return None;
                }
                Some(Cow::Owned(match fact {
                    CallFact::Outcome => text(call.ruling.as_ref().or(call.outcome.as_ref())),
                    CallFact::Reason => text(call.reason.as_ref()),
                    CallFact::Problems => Value::Array(call.problems.clone()),
                    CallFact::Attempt => Value::String(call.attempt.to_string()),
                }))
            }
        }
    }
}

impl Function {
    fn apply(&self, argument: &Value, facts: Facts<'_>) -> Value {
        match self {
            Self::AccountIsValid => Value::Bool(account_problems(argument, "").is_empty()),
            Self::AccountProblems(at) => Value::Array(account_problems(argument, at)),
            Self::MoneyIsValid => {
                let money = serde_json::from_value::<Money>(argument.clone());
                Value::Bool(money.is_ok_and(|money| money.check().is_ok()))
            }
            Self::Likeness => {
                let text =
                    |field: &str| argument.get(field).and_then(Value::as_str).unwrap_or_default();
                let likeness = facts.key.likeness(facts.subject, text("kind"), text("name"));
                Value::String(likeness.to_string())
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let ordered = match (left, right) {
            (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left
                    .as_f64()
                    .zip(right.as_f64())
                    .and_then(|(left, right)| left.partial_cmp(&right)),
            },
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => ordered.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => ordered.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => ordered.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => ordered.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

fn compile(ast: &Ast, scope: &Scope) -> Result<(Expression, Type), String> {
    match ast {
        Ast::Literal(literal) => constant(literal),
        Ast::Ident(_) | Ast::Select(_) => fact(&path_of(ast)?, scope),
        Ast::Call(call) => compile_call(call, scope),
        Ast::Unspecified | Ast::Comprehension(_) | Ast::List(_) | Ast::Map(_) | Ast::Struct(_) => {
            Err("only facts, constants, comparisons, `in`, `!`, `&&`, `||` and the journey \
                                 language's functions may be used"
                .to_owned())
        }
    }
}

fn constant(literal: &LiteralValue) -> Result<(Expression, Type), String> {
    let (value, kind) = match literal {
        LiteralValue::Boolean(value) => (Value::Bool(*value.inner()), Type::Bool),
        LiteralValue::Int(value) => (Value::from(*value.inner()), Type::Int),
        LiteralValue::UInt(value) => (Value::from(*value.inner()), Type::Int),
        LiteralValue::Double(value) => (Value::from(*value.inner()), Type::Float),
        LiteralValue::String(value) => (Value::from(value.inner()), Type::Text),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::Bytes(_) => return Err("bytes are not a type of facts".to_owned()),
    };
    Ok((Expression::Literal(value), kind))
}

fn path_of(ast: &Ast) -> Result<Vec<String>, String> {
    match ast {
        Ast::Ident(name) => Ok(vec![name.clone()]),
        Ast::Select(SelectExpr { operand, field, test: false }) => {
            let mut path = path_of(&operand.expr)?;
            path.push(field.clone());
            Ok(path)
        }
        _ => Err("a fact is a name with dots, such as command.amount.currency".to_owned()),
    }
}

fn fact(path: &[String], scope: &Scope) -> Result<(Expression, Type), String> {
    match path {
        [root, rest @ ..] if root == "command" => {
            let mut kind = &scope.command;
            let mut nullable = false;
            for name in rest {
                let field = kind.field(name).ok_or_else(|| {
                    format!(
                        "there is no field {name} in {}; it has {}",
                        kind.strict(),
                        kind.field_names()
                    )
                })?;
                nullable |= matches!(kind, Type::Optional(_));
                kind = &field.kind;
            }
            let kind = if nullable && !matches!(kind, Type::Optional(_)) {
                Type::Optional(Box::new(kind.clone()))
            } else {
                kind.clone()
            };
            Ok((Expression::Fact(Fact::Command(rest.to_vec())), kind))
        }
        [root, name] if root == "parameters" => {
            let Some(time) = scope.parameters.get(name) else {
                let known: Vec<&str> = scope.parameters.keys().map(String::as_str).collect();
                return Err(format!(
                    "there is no parameter {name}; there are {}",
                    known.join(", ")
                ));
            };
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            Ok((Expression::Literal(Value::from(millis)), Type::Int))
        }
        [root, name] if root == "remembered" => {
            if !scope.commands.contains(name) {
                return Err(format!(
                    "no command is called {name}; commands are {}",
                    scope.commands.join(", ")
                ));
            }
            Ok((Expression::Fact(Fact::Remembered(name.clone())), Type::Bool))
        }
        [step @ .., field] if !step.is_empty() => {
            let step = StepName::from(step.join("/"));
            let outcome = scope.steps.get(&step).ok_or_else(|| {
                format!("{step} is neither `command`, nor `remembered`, nor a state that calls a capability")
            })?;
            let (fact, kind) = match field.as_str() {
                "outcome" => (CallFact::Outcome, Type::Optional(Box::new(outcome.clone()))),
                "reason" => (CallFact::Reason, Type::Optional(Box::new(Type::Text))),
                "problems" => (CallFact::Problems, Type::List(Box::new(scope.problem.clone()))),
                "attempt" => (CallFact::Attempt, Type::Uuid),
                other => {
                    return Err(format!(
                        "{step} has no {other}; it has outcome, reason, problems, attempt"
                    ));
                }
            };
            Ok((Expression::Fact(Fact::Call(step, fact)), kind))
        }
        _ => Err(format!(
            "{} is not a fact; facts begin with command., parameters., remembered. or a state's name",
            path.join(".")
        )),
    }
}

fn compile_call(call: &CallExpr, scope: &Scope) -> Result<(Expression, Type), String> {
    if call.target.is_some() {
        return Err(format!("{}(...) cannot be called on a value", call.func_name));
    }
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_NOT, [inner]) => {
            Ok((Expression::Not(Box::new(condition(&inner.expr, scope)?)), Type::Bool))
        }
        (operators::LOGICAL_AND, [left, right]) => {
            let sides = (condition(&left.expr, scope)?, condition(&right.expr, scope)?);
            Ok((Expression::And(Box::new(sides.0), Box::new(sides.1)), Type::Bool))
        }
        (operators::LOGICAL_OR, [left, right]) => {
            let sides = (condition(&left.expr, scope)?, condition(&right.expr, scope)?);
            Ok((Expression::Or(Box::new(sides.0), Box::new(sides.1)), Type::Bool))
        }
        (operators::IN, [item, list]) => membership(&item.expr, &list.expr, scope),
        (name, [left, right]) => match comparison(name) {
            Some(comparison) => compare(comparison, &left.expr, &right.expr, scope),
            None => Err(format!("{name} with two arguments is not part of the journey language")),
        },
        (name, [argument]) => function(name, &argument.expr, scope),
        (name, _) => Err(format!("{name} is not part of the journey language")),
    }
}

/// An expression that is true or false.
fn condition(ast: &Ast, scope: &Scope) -> Result<Expression, String> {
    match compile(ast, scope)? {
        (expression, Type::Bool) => Ok(expression),
        (_, other) => Err(format!("a condition must be true or false, not {other}")),
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    match name {
        operators::EQUALS => Some(Comparison::Equal),
        operators::NOT_EQUALS => Some(Comparison::NotEqual),
        operators::LESS => Some(Comparison::Less),
        operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
        operators::GREATER => Some(Comparison::Greater),
        operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

fn compare(
    how: Comparison,
    left: &Ast,
    right: &Ast,
    scope: &Scope,
) -> Result<(Expression, Type), String> {
    let (left, left_type) = compile(left, scope)?;
    let (right, right_type) = compile(right, scope)?;
    comparable(&left, &left_type, &right, &right_type)?;
    let equality = matches!(how, Comparison::Equal | Comparison::NotEqual);
    if !equality
        && !matches!(left_type.strict(), Type::Int | Type::Float | Type::Instant | Type::Date)
    {
        return Err(format!("only numbers and times have an order, not {left_type}"));
    }
    Ok((Expression::Compare(how, Box::new(left), Box::new(right)), Type::Bool))
}

/// Refuses comparing what can never be equal: other types, or a word that the enum does not have.
fn comparable(
    left: &Expression,
    left_type: &Type,
    right: &Expression,
    right_type: &Type,
) -> Result<(), String> {
    for (wanted, literal) in [(left_type, right), (right_type, left)] {
        if let (Type::Enum { .. }, Expression::Literal(word)) = (wanted.strict(), literal) {
            return wanted.refuses_literal(word).map_or(Ok(()), Err);
        }
    }
    let number = |kind: &Type| matches!(kind, Type::Int | Type::Float | Type::Instant | Type::Date);
    let (one, other) = (left_type.strict(), right_type.strict());
    let null = matches!(
        (left_type, right_type),
        (Type::Null, Type::Optional(_)) | (Type::Optional(_), Type::Null)
    );
    if null || one == other || (number(one) && number(other)) {
        return Ok(());
    }
    Err(format!("{left_type} cannot be compared with {right_type}"))
}

fn membership(item: &Ast, list: &Ast, scope: &Scope) -> Result<(Expression, Type), String> {
    let (item, kind) = compile(item, scope)?;
    let Ast::List(list) = list else {
        return Err("`in` takes a list of constants, such as ['pass', 'approved']".to_owned());
    };
    let mut constants = Vec::with_capacity(list.elements.len());
    for element in &list.elements {
        let (constant, constant_type) = compile(&element.expr, scope)?;
        comparable(&item, &kind, &constant, &constant_type)?;
        let Expression::Literal(value) = constant else {
            return Err("a list holds constants only".to_owned());
        };
        constants.push(value);
    }
    Ok((Expression::In(Box::new(item), constants), Type::Bool))
}

fn function(name: &str, argument: &Ast, scope: &Scope) -> Result<(Expression, Type), String> {
    let (argument, found) = compile(argument, scope)?;
    let path = match &argument {
        Expression::Fact(Fact::Command(path)) => path.join("."),
        _ => return Err(format!("{name}(...) takes a field of the command")),
    };
    let (function, wanted, result) = match name {
        "account_is_valid" => (Function::AccountIsValid, "signalbox.common.Account", Type::Bool),
        "account_problems" => {
            let problems = Type::List(Box::new(scope.problem.clone()));
            (Function::AccountProblems(path), "signalbox.common.Account", problems)
        }
        "money_is_valid" => (Function::MoneyIsValid, "signalbox.common.Money", Type::Bool),
        "likeness" => (Function::Likeness, "signalbox.common.Party", Type::Uuid),
        other => {
            return Err(format!(
                "there is no function {other}; there are account_is_valid, account_problems, money_is_valid, likeness"
            ));
        }
    };
    match found {
        Type::Record { name: given, .. } if given == wanted => {
            Ok((Expression::Apply(function, Box::new(argument)), result))
        }
        other => Err(format!("{name}(...) takes a {wanted}, not {other}")),
    }
}
