use serde_json::Value;

/// Whether two values are the same JSON: `1` is `1.0`, which languages write differently.
pub fn is_same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        // Integers exactly: two of them may be one float.
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| is_same_json(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_same_json;

    #[test]
    fn numbers_are_compared_by_value_wherever_they_stand() {
        assert!(is_same_json(
            &json!({ "a": [1, 2.5] }),
            &json!({ "a": [1.0, 2.5] })
        ));
        for other in [
            json!({ "a": [1, 2] }),
            json!({ "a": [1] }),
            json!({}),
            json!({ "a": [1, "2.5"] }),
        ] {
            assert!(!is_same_json(&json!({ "a": [1, 2.5] }), &other), "{other}");
        }
        // Not the same integer, though the same float.
        assert!(!is_same_json(
            &json!(9_007_199_254_740_993_u64),
            &json!(9_007_199_254_740_992_u64)
        ));
        assert!(!is_same_json(&json!(true), &json!(1)));
    }
}
