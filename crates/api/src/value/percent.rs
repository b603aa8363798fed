//! Percentages and decimals as whole numbers, so that resources compare exactly.

use serde::de::{Deserialize, Deserializer, Error};

/// A share, 0 to 100 %, held as Envoy's `FractionalPercent` over a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// Everything.
    pub const ALL: Self = Self(1_000_000);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// From a percentage, rounded to a ten-thousandth of a percent; none outside 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        // The range is checked first, so the cast neither truncates nor loses a sign.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1,000,000 by the check before"
        )]
        (0.0..=100.0).contains(&percent).then(|| Self((percent * 10_000.0).round() as u32))
    }

    /// From a whole percentage; none above 100.
    pub fn whole(percent: u32) -> Option<Self> {
        (percent <= 100).then(|| Self(percent * 10_000))
    }

    /// The numerator over a million.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Nothing at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// Istio's message `Percent`: `{value: 12.5}`.
#[derive(serde::Deserialize)]
struct Written {
    #[serde(default)]
    value: Decimal,
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { value } = Written::deserialize(deserializer)?;
        Self::new(value.as_f64())
            .ok_or_else(|| D::Error::custom(format!("a percentage is 0 to 100, found {}", value.as_f64())))
    }
}

/// A number with a fraction, held in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i64);

impl Decimal {
    /// From a floating-point number, rounded to a millionth; none when it is not finite or beyond 10^12.
    pub fn new(number: f64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "below 10^18 by the check before")]
        (number.abs() <= 1e12).then(|| Self((number * 1e6).round() as i64))
    }

    /// As a floating-point number.
    pub fn as_f64(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 millionths no one counts")]
        let millionths = self.0 as f64;
        millionths / 1e6
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| D::Error::custom(format!("{number} is out of range")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Percent};

    #[test]
    fn a_percentage_is_a_numerator_over_a_million() {
        let read = |text| serde_json::from_str::<Percent>(text).map(Percent::millionths);
        assert_eq!(read(r#"{"value": 33.3}"#).unwrap(), 333_000);
        assert_eq!(read(r#"{"value": 0.0001}"#).unwrap(), 1);
        assert_eq!(read(r#"{"value": 100}"#).unwrap(), 1_000_000);
        assert_eq!(read("{}").unwrap(), 0);
        assert!(read(r#"{"value": 100.1}"#).is_err());
        assert!(read(r#"{"value": -1}"#).is_err());
        assert_eq!(Percent::whole(5).unwrap().to_string(), "5%");
    }

    #[test]
    fn what_is_not_finite_is_no_decimal() {
        assert_eq!(Decimal::new(f64::NAN), None);
        assert_eq!(Decimal::new(f64::INFINITY), None);
        assert_eq!(Decimal::new(1.5).map(Decimal::as_f64), Some(1.5));
    }
}
