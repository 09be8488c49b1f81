//! Mistakes in settings, told without what stands there: secrets are among it, and whoever reads a log may not know them.
//! It reads no settings and judges none.

/// What a parser tells of a mistake, without the line that it quotes and without the value that it found.
#[must_use]
pub fn without_values(told: &str) -> String {
    let quotes = |line: &str| {
        let number_or_space = |letter: char| letter.is_ascii_digit() || letter == ' ';
        line.trim_start_matches(number_or_space).starts_with('|')
    };
    let lines: Vec<&str> = told.lines().filter(|line| !quotes(line)).collect();
    without_value_found(&lines.join(": "))
}

/// `invalid type: string "hush", expected u64` keeps the kind of what was found, and what was expected.
fn without_value_found(told: &str) -> String {
    let found = ["invalid type: ", "invalid value: "].iter().find_map(|mistake| {
        let (before, rest) = told.split_once(mistake)?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
        Some(format!("{before}{mistake}{kind}, expected {expected}"))
    });
    found.unwrap_or_else(|| told.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_with_its_place_and_without_the_secret_that_stands_there() {
        let rows = [
            (
                "TOML parse error at line 2, column 7\n  |\n2 | key = hush\n  |       ^\nstring values must be quoted\n",
                "TOML parse error at line 2, column 7: string values must be quoted",
            ),
            (
                r#"invalid type: string "hush, expected \" x", expected u64 for key `engine.lease_ms`"#,
                "invalid type: string, expected u64 for key `engine.lease_ms`",
            ),
            ("invalid value: integer `-5`, expected u64", "invalid value: integer, expected u64"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            (
                "unknown field `lease`, expected `lease_ms`",
                "unknown field `lease`, expected `lease_ms`",
            ),
        ];
        for (told, then) in rows {
            assert_eq!(without_values(told), then, "{told}");
        }
    }
}
