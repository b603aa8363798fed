//! Durations as Go and protobuf JSON write them.

use crate::value::from_text;

/// A span of time, zero or more: `1.5s`, `1h5m`, `100ms`. Istio takes every form that Go's `time.ParseDuration` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("`{0}` is not a duration; write a number with a unit, such as 1.5s, 100ms or 1h5m")]
    Form(String),
    /// Durations in the mesh's resources do not go back in time.
    #[error("a duration must not be negative, found `{0}`")]
    Negative(String),
}

impl Duration {
    /// Parses one or more numbers, each with its unit (`h m s ms us µs ns`), or `0`.
    ///
    /// # Errors
    /// When the text has another form, is negative or beyond some 500 years.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let form = || DurationError::Form(text.to_owned());
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(form());
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let unit: u128 = match unit {
                "h" => 3_600_000_000_000,
                "m" => 60_000_000_000,
                "s" => 1_000_000_000,
                "ms" => 1_000_000,
                "us" | "µs" | "μs" => 1_000,
                "ns" => 1,
                _ => return Err(form()),
            };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 18 {
                return Err(form());
            }
            let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| form())? };
            nanos += whole * unit;
            let mut scale = unit;
            for digit in fraction.bytes() {
                scale /= 10;
                nanos += u128::from(digit - b'0') * scale;
            }
            // The bound that Go has: 63 bits of nanoseconds.
            if nanos > i64::MAX as u128 {
                return Err(form());
            }
            rest = tail;
        }
        Ok(Self(std::time::Duration::from_nanos(u64::try_from(nanos).map_err(|_| form())?)))
    }

    /// Zero or not.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

from_text!(Duration);

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    fn nanos(text: &str) -> u128 {
        Duration::parse(text).unwrap().0.as_nanos()
    }

    #[test]
    fn go_and_protobuf_forms_are_read() {
        assert_eq!(nanos("1.5s"), 1_500_000_000);
        assert_eq!(nanos("1h5m"), 3_900_000_000_000);
        assert_eq!(nanos("100ms"), 100_000_000);
        assert_eq!(nanos("0"), 0);
        assert_eq!(nanos("0s"), 0);
        assert_eq!(nanos("2us3ns"), 2_003);
        assert_eq!(nanos(".5s"), 500_000_000);
        assert_eq!(nanos("3.000000001s"), 3_000_000_001);
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in
            ["", "5", "s", "1d", "1.s.s", "..s", ".s", "1 s", "-1s", "9999999999999h", "1.2.3s", "5sec", "٣s"]
        {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }
}
