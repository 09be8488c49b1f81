//! Reason codes as data: from a scheme's or a vendor's code to our class and reason.
//! A code that a table does not know is permanent and counted, never silently transient.

use signalbox_schemas::ErrorClass;
use std::collections::HashMap;

/// A table of codes.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    table: &'static str,
    rows: HashMap<String, Code>,
}

/// What a code means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    /// Class.
    pub(crate) class: ErrorClass,
    /// Canonical reason.
    pub(crate) reason: String,
    /// False where no table knew the code.
    pub(crate) known: bool,
}

/// A table is broken: a bug in its file.
#[derive(Debug, thiserror::Error)]
#[error("code table {table}, line {line}: {reason}")]
pub struct CodesError {
    table: &'static str,
    line: usize,
    reason: &'static str,
}

/// ISO 20022 external status reasons.
pub(crate) fn iso20022() -> Result<Codes, CodesError> {
    Codes::parse("iso20022", include_str!("codes/iso20022.csv"))
}

/// NACHA return reasons.
pub(crate) fn nacha() -> Result<Codes, CodesError> {
    Codes::parse("nacha", include_str!("codes/nacha.csv"))
}

impl Codes {
    /// Reads `code,class,reason` lines; `#` begins a comment line. A code must not come twice.
    pub(crate) fn parse(table: &'static str, text: &str) -> Result<Self, CodesError> {
        let mut rows = HashMap::new();
        for (line, [code, class, reason]) in records::<3>(table, text)? {
            let fail = |reason| CodesError { table, line, reason };
            let class =
                class_named(class).ok_or_else(|| fail("the class is not one of the seven"))?;
            let meaning = Code { class, reason: reason.to_owned(), known: true };
            if rows.insert(code.to_owned(), meaning).is_some() {
                return Err(fail("the code is listed twice"));
            }
        }
        Ok(Self { table, rows })
    }

    /// What a code means. An unknown one is permanent, logged and counted, so that somebody adds it to the table.
    pub(crate) fn meaning(&self, code: &str) -> Code {
        self.find(code).unwrap_or_else(|| {
            crate::metrics::unknown_code(self.table);
            tracing::warn!(
                table = self.table,
                code = printable(code),
                "a vendor sent a code that no table knows"
            );
            Code { class: ErrorClass::Permanent, reason: "unknown_code".to_owned(), known: false }
        })
    }

    /// What a code means, where the table knows it.
    pub(crate) fn find(&self, code: &str) -> Option<Code> {
        self.rows.get(code).cloned()
    }
}

/// Lines of a table of data: `#` begins a comment line, and every other line has exactly `N` fields.
pub(crate) fn records<'a, const N: usize>(
    table: &'static str,
    text: &'a str,
) -> Result<Vec<(usize, [&'a str; N])>, CodesError> {
    let mut records = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() || content.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = content.split(',').map(str::trim).collect();
        let fields = <[&str; N]>::try_from(fields);
        let reason = "the line has too few or too many fields";
        records.push((line, fields.map_err(|_| CodesError { table, line, reason })?));
    }
    Ok(records)
}

fn class_named(word: &str) -> Option<ErrorClass> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}

/// A code as it may be logged: what does not look like a code could be a sentence about a person.
fn printable(code: &str) -> &str {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter);
    if code.len() <= 60 && code.bytes().all(plain) { code } else { "not_a_code" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn schemes_codes_mean_what_the_scheme_says() {
        let rows = [
            (iso20022().unwrap(), "AC04", ErrorClass::Permanent),
            (iso20022().unwrap(), "RR04", ErrorClass::ComplianceHold),
            (iso20022().unwrap(), "AB05", ErrorClass::InDoubt),
            (iso20022().unwrap(), "AM05", ErrorClass::Duplicate),
            (nacha().unwrap(), "R01", ErrorClass::Transient),
            (nacha().unwrap(), "R03", ErrorClass::RequiresRepair),
            (nacha().unwrap(), "R16", ErrorClass::ComplianceHold),
            (nacha().unwrap(), "R90", ErrorClass::ComplianceHold),
        ];
        for (table, code, class) in rows {
            assert_eq!(table.find(code).unwrap().class, class, "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_permanent_and_says_that_it_is_unknown() {
        let meaning = nacha().unwrap().meaning("R99X");
        assert_eq!((meaning.class, meaning.known), (ErrorClass::Permanent, false));
    }

    #[test]
    fn a_broken_table_is_refused_with_its_line() {
        for (text, problem) in [
            ("A,permanent,x\nA,permanent,y", "line 2: the code is listed twice"),
            ("A,final,x", "line 1: the class is not one of the seven"),
            ("# note\nA,permanent", "line 2: the line has too few or too many fields"),
        ] {
            let error = Codes::parse("test", text).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{error}");
        }
    }

    #[test]
    fn what_is_logged_of_a_code_holds_no_sentence() {
        assert_eq!(printable("R99"), "R99");
        assert_eq!(printable("no such payee: Ann Miller"), "not_a_code");
        assert_eq!(printable(&"x".repeat(90)), "not_a_code");
    }
}
