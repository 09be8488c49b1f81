//! Whether account identifiers can be right: check digits and formats, never whether the account exists.

use iban::Iban;
use serde_json::{Value, json};

/// ISO 13616: length by country, check digits by mod 97. Spaces are allowed where people write them.
pub fn is_iban(text: &str) -> bool {
    text.parse::<Iban>().is_ok()
}

/// ABA routing transit number: nine digits, weights 3-7-1, sum divisible by ten, first two digits in an assigned range.
pub fn is_aba(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|sign| sign.to_digit(10)).collect();
    if text.len() != 9 || digits.len() != 9 {
        return false;
    }
    let weighted: u32 =
        digits.iter().zip([3, 7, 1].iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    let prefix: u32 = digits.iter().take(2).fold(0, |number, digit| number * 10 + digit);
    weighted.is_multiple_of(10) && matches!(prefix, 0..=12 | 21..=32 | 61..=72 | 80)
}

/// ISO 9362: four letters or digits, a country, two for the place, three for the branch or none.
pub fn is_bic(text: &str) -> bool {
    let signs: Vec<char> = text.chars().collect();
    let upper = |sign: &char| sign.is_ascii_uppercase() || sign.is_ascii_digit();
    matches!(signs.len(), 8 | 11)
        && signs.iter().all(upper)
        && signs.iter().skip(4).take(2).collect::<String>().parse::<CountryCode>().is_ok()
}

/// Everything wrong with an account (`signalbox.common.Account` as JSON), as `signalbox.common.Problem` values.
/// `at` is the path of the account in its command. Rejected values are not repeated: they are personal data.
pub fn account_problems(account: &Value, at: &str) -> Vec<Value> {
    let text = |field: &str| account.get(field).and_then(Value::as_str);
    let mut problems = Vec::new();
    let mut problem = |field: &str, code: &str, message: &str| {
        problems.push(json!({"field": format!("{at}.{field}"), "code": code, "message": message}));
    };
    match text("scheme") {
        Some("iban") => match text("iban") {
            None => problem("iban", "missing", "an account of scheme iban needs its IBAN"),
            Some(iban) if !is_iban(iban) => {
                problem(
                    "iban",
                    "iban_invalid",
                    "the IBAN's length or check digits are wrong; ask for it again",
                );
            }
            Some(_) => {}
        },
        Some("aba") => {
            match text("routing_number") {
                None => problem(
                    "routing_number",
                    "missing",
                    "an account of scheme aba needs its routing number",
                ),
                Some(number) if !is_aba(number) => {
                    problem(
                        "routing_number",
                        "aba_invalid",
                        "the routing number's check digit or range is wrong",
                    );
                }
                Some(_) => {}
            }
            let plausible = |number: &str| {
                (4..=17).contains(&number.len())
                    && number.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if !text("account_number").is_some_and(plausible) {
                problem(
                    "account_number",
                    "account_number_invalid",
                    "an account number has 4 to 17 letters, digits or dashes",
                );
            }
        }
        _ => problem("scheme", "scheme_unknown", "the account's scheme must be iban or aba"),
    }
    if text("bic").is_some_and(|bic| !is_bic(bic)) {
        problem(
            "bic",
            "bic_invalid",
            "a BIC has 8 or 11 characters with a country code at the fifth",
        );
    }
    problems
}

/// ISO 3166-1 alpha-2, as far as BICs and IBANs use it.
struct CountryCode;

impl std::str::FromStr for CountryCode {
    type Err = ();

    fn from_str(code: &str) -> Result<Self, ()> {
        COUNTRIES.split(' ').any(|known| known == code).then_some(Self).ok_or(())
    }
}

/// ISO 3166-1 alpha-2 codes officially assigned, and XK (Kosovo), which SWIFT assigns.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS \
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM \
FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP \
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV \
MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD \
SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC \
VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_judged_by_their_check_digits() {
        for (iban, valid) in [
            ("GB29NWBK60161331926819", true),
            ("DE89370400440532013000", true),
            ("DE88370400440532013000", false),
            ("DE8937040044053201300", false),
            ("", false),
        ] {
            assert_eq!(is_iban(iban), valid, "{iban}");
        }
        for (aba, valid) in
            [("021000021", true), ("021000022", false), ("02100002", false), ("991000028", false)]
        {
            assert_eq!(is_aba(aba), valid, "{aba}");
        }
        for (bic, valid) in
            [("DEUTDEFF", true), ("DEUTDEFF500", true), ("DEUTQQFF", false), ("deutdeff", false)]
        {
            assert_eq!(is_bic(bic), valid, "{bic}");
        }
    }

    #[test]
    fn a_bad_account_names_each_field_and_never_its_value() {
        let account =
            json!({"scheme": "aba", "routing_number": "021000022", "account_number": "!"});
        let problems = account_problems(&account, "beneficiary.account");
        let fields: Vec<&str> =
            problems.iter().filter_map(|problem| problem["field"].as_str()).collect();
        assert_eq!(
            fields,
            ["beneficiary.account.routing_number", "beneficiary.account.account_number"]
        );
        assert!(!format!("{problems:?}").contains("021000022"));
    }
}
