//! Money as minor units of an ISO 4217 currency. No arithmetic beyond what process truth needs: balances are the ledger's.

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Amount in minor units; greater than zero for a payment.
    pub minor_units: i64,
    /// ISO 4217 alphabetic code.
    pub currency: String,
    /// ISO 4217 minor-unit exponent: JPY 0, USD 2, BHD 3.
    pub exponent: i32,
}

/// Why an amount is not one that can be paid. Each is the caller's to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Zero or negative.
    #[error("the amount must be greater than zero")]
    NotPositive,
    /// Not in ISO 4217.
    #[error("the currency is not an ISO 4217 code")]
    UnknownCurrency,
    /// Differs from ISO 4217.
    #[error("the exponent is not the currency's ISO 4217 exponent")]
    WrongExponent,
}

impl Money {
    /// Checks the amount against ISO 4217 (the exponent guards against an amount read in the wrong unit).
    pub fn check(&self) -> Result<(), MoneyError> {
        if self.minor_units <= 0 {
            return Err(MoneyError::NotPositive);
        }
        let currency = Currency::from_code(&self.currency).ok_or(MoneyError::UnknownCurrency)?;
        let exponent = currency.exponent().map_or(0, i32::from);
        if exponent == self.exponent { Ok(()) } else { Err(MoneyError::WrongExponent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_payable_only_in_its_currency_s_own_unit() {
        let rows: [(i64, &str, i32, Result<(), MoneyError>); 7] = [
            (1_000, "USD", 2, Ok(())),
            (1_000, "JPY", 0, Ok(())),
            (1_000, "BHD", 3, Ok(())),
            (0, "USD", 2, Err(MoneyError::NotPositive)),
            (-5, "USD", 2, Err(MoneyError::NotPositive)),
            (1_000, "JPY", 2, Err(MoneyError::WrongExponent)),
            (1_000, "ZZZ", 2, Err(MoneyError::UnknownCurrency)),
        ];
        for (minor_units, currency, exponent, expected) in rows {
            let money = Money { minor_units, currency: currency.into(), exponent };
            assert_eq!(money.check(), expected, "{money:?}");
        }
    }
}
