//! Kubernetes' label selector: pairs and expressions, all of which must hold (meta/v1 LabelSelector).
//!
//! Must not know: whose labels are asked for.   Invariant: an expression that exists has the values that its operator needs.

use meltemi_names::{Labels, Selector};
use serde::de::{Deserialize, Deserializer, Error};

/// Conditions over labels; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pairs: Selector,
    expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Whether everything holds for these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.pairs.selects(labels)
            && self.expressions.iter().all(|expression| expression.holds(labels.value(&expression.key)))
    }
}

impl Expression {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => listed,
            // A label that is not there is not among the values either.
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    match_labels: Selector,
    match_expressions: Vec<WrittenExpression>,
}

#[derive(serde::Deserialize)]
struct WrittenExpression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

impl<'de> Deserialize<'de> for LabelSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let expression = |written: WrittenExpression| {
            let WrittenExpression { key, operator, values } = written;
            let wants_values = matches!(operator, Operator::In | Operator::NotIn);
            if key.is_empty() {
                return Err(D::Error::custom("an expression over labels needs a key"));
            }
            match (wants_values, values.is_empty()) {
                (true, true) => Err(D::Error::custom("the operators In and NotIn need values")),
                (false, false) => {
                    Err(D::Error::custom("the operators Exists and DoesNotExist take no values"))
                }
                _ => Ok(Expression { key, operator, values }),
            }
        };
        Ok(Self {
            pairs: written.match_labels,
            expressions: written.match_expressions.into_iter().map(expression).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LabelSelector;

    fn read(json: &str) -> Result<LabelSelector, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn selects(json: &str, labels: &[(&str, &str)]) -> bool {
        read(json).unwrap().selects(&labels.iter().copied().collect())
    }

    #[test]
    fn everything_that_is_written_must_hold() {
        let both = r#"{"matchLabels": {"mesh": "on"}, "matchExpressions": [{"key": "env", "operator": "In", "values": ["prod", "stage"]}]}"#;
        assert!(selects(both, &[("mesh", "on"), ("env", "stage"), ("other", "x")]));
        assert!(!selects(both, &[("mesh", "on"), ("env", "test")]));
        assert!(!selects(both, &[("env", "prod")]));
        assert!(selects("{}", &[]));
    }

    #[test]
    fn each_operator_means_what_it_says_of_a_label_that_is_not_there() {
        let with = |operator: &str, values: &str| {
            let json =
                format!(r#"{{"matchExpressions": [{{"key": "env", "operator": "{operator}"{values}}}]}}"#);
            [&[][..], &[("env", "prod")], &[("env", "test")]].map(|labels| selects(&json, labels))
        };
        assert_eq!(with("In", r#", "values": ["prod"]"#), [false, true, false]);
        assert_eq!(with("NotIn", r#", "values": ["prod"]"#), [true, false, true]);
        assert_eq!(with("Exists", ""), [false, true, true]);
        assert_eq!(with("DoesNotExist", r#", "values": []"#), [true, false, false]);
    }

    #[test]
    fn what_kubernetes_would_refuse_is_refused() {
        for bad in [
            r#"{"matchExpressions": [{"key": "env", "operator": "In"}]}"#,
            r#"{"matchExpressions": [{"key": "env", "operator": "Exists", "values": ["x"]}]}"#,
            r#"{"matchExpressions": [{"key": "env", "operator": "Equals", "values": ["x"]}]}"#,
            r#"{"matchExpressions": [{"key": "", "operator": "Exists"}]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
