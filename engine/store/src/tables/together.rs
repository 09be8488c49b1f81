//! Statements about several tables that go to the server as one: whoever writes to nine tables waits for one answer instead
//! of nine. It knows nothing of what they say.

use signalbox_schemas::Micros;
use sqlx::encode::Encode;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::types::Type;
use sqlx::{Arguments as _, Postgres, Row as _};

use crate::error::StoreError;
use crate::tables::{NOW_MICROS, all_or_broken};

/// Statements that are to be one. None of them sees what another writes, and no two may write the same row
/// (PostgreSQL, 7.8.4 "Data-Modifying Statements in WITH").
#[derive(Default)]
pub(crate) struct Together {
    statements: Vec<Statement>,
    arguments: PgArguments,
    /// The first value that could not be encoded.
    refused: Option<BoxDynError>,
}

struct Statement {
    /// Of the table that it is about.
    name: &'static str,
    /// How many rows it must touch, where that is known.
    rows: Option<usize>,
    /// It returns a row for each that it touches, and counts its parameters on from those of the statements before it.
    sql: String,
}

/// What they did.
pub(crate) struct Ran {
    /// Database time.
    pub(crate) now: Micros,
    /// Rows that each statement touched, in the order in which they were added.
    pub(crate) touched: Vec<usize>,
}

impl Together {
    /// Adds a statement that must touch so many rows, or else an invariant is broken. It counts its parameters from $1;
    /// their values are bound next.
    pub(crate) fn add_exact(&mut self, table: &'static str, rows: usize, sql: &str) -> &mut Self {
        self.add_statement(table, Some(rows), sql)
    }

    /// Adds a statement that may touch any number of rows.
    pub(crate) fn add(&mut self, table: &'static str, sql: &str) -> &mut Self {
        self.add_statement(table, None, sql)
    }

    fn add_statement(&mut self, name: &'static str, rows: Option<usize>, sql: &str) -> &mut Self {
        let sql = counted_from(self.arguments.len(), sql);
        self.statements.push(Statement { name, rows, sql });
        self
    }

    /// The next value of the statement that was added last.
    pub(crate) fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(
        &mut self,
        value: T,
    ) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Runs them.
    ///
    /// # Errors
    /// What the server says, and `Invariant` where a statement did not touch the rows that it must.
    pub(crate) async fn run(self, connection: &mut PgConnection) -> Result<Ran, StoreError> {
        if let Some(error) = self.refused {
            return Err(sqlx::Error::Encode(error).into());
        }
        let sql = one(&self.statements);
        let row = sqlx::query_with(sqlx::AssertSqlSafe(sql), self.arguments)
            .fetch_one(connection)
            .await?;
        let mut touched = Vec::with_capacity(self.statements.len());
        let counts: Vec<i64> = row.try_get("touched")?;
        for (statement, count) in self.statements.iter().zip(counts) {
            if let Some(rows) = statement.rows {
                all_or_broken(statement.name, rows, u64::try_from(count).unwrap_or(u64::MAX))?;
            }
            touched.push(usize::try_from(count).unwrap_or(usize::MAX));
        }
        Ok(Ran { now: Micros(row.try_get("now")?), touched })
    }
}

/// All of them as one statement: how many rows each one touched, and the time.
fn one(statements: &[Statement]) -> String {
    let name = |(number, statement): (usize, &Statement)| format!("{}_{number}", statement.name);
    let names: Vec<String> = statements.iter().enumerate().map(name).collect();
    let with: Vec<String> = names
        .iter()
        .zip(statements)
        .map(|(name, one)| format!("{name} AS ({})", one.sql))
        .collect();
    let counts: Vec<String> =
        names.iter().map(|name| format!("(SELECT count(*) FROM {name})")).collect();
    let with = if with.is_empty() { String::new() } else { format!("WITH {} ", with.join(", ")) };
    let counts = counts.join(", ");
    format!("{with}SELECT ARRAY[{counts}]::bigint[] AS touched, {NOW_MICROS} AS now")
}

/// A statement whose parameters $1, $2 and so on are those after so many others. It must hold no other `$`.
fn counted_from(others: usize, sql: &str) -> String {
    let mut pieces = sql.split('$');
    let mut counted = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(end);
        let number: usize = number.parse().unwrap_or(0);
        counted.push_str(&format!("${}{rest}", others + number));
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_counts_its_parameters_on_from_those_before_it() {
        let counted = counted_from(
            9,
            "INSERT INTO t SELECT * FROM unnest($1::text[], $12::bytea[]) RETURNING 1",
        );
        assert_eq!(
            counted,
            "INSERT INTO t SELECT * FROM unnest($10::text[], $21::bytea[]) RETURNING 1"
        );
        assert_eq!(counted_from(3, "DELETE FROM t WHERE id = $1"), "DELETE FROM t WHERE id = $4");
        assert_eq!(counted_from(3, "DELETE FROM t"), "DELETE FROM t");
    }

    #[test]
    fn one_statement_tells_of_all() {
        let mut together = Together::default();
        together
            .add_exact("flow", 1, "UPDATE flow SET rev = $2 WHERE id = $1 RETURNING 1")
            .bind(7_i64)
            .bind(8_i64);
        together.add("timer", "DELETE FROM timer WHERE flow = $1 RETURNING 1").bind(7_i64);
        assert_eq!(
            one(&together.statements),
            format!(
                "WITH flow_0 AS (UPDATE flow SET rev = $2 WHERE id = $1 RETURNING 1), \
                 timer_1 AS (DELETE FROM timer WHERE flow = $3 RETURNING 1) \
                 SELECT ARRAY[(SELECT count(*) FROM flow_0), (SELECT count(*) FROM timer_1)]::bigint[] AS touched, \
                 {NOW_MICROS} AS now"
            )
        );
        assert_eq!(one(&[]), format!("SELECT ARRAY[]::bigint[] AS touched, {NOW_MICROS} AS now"));
    }
}
