//! What is printed of one file.

use domain::{Details, FileAnalysis};
use serde::Serialize;
use serde_json::{Map, Value};

const PATH: &str = "\"path\"";

/// One line of JSONL: `path`, then what the plugin's tool answers for the file, then diagnostics, metrics by name and
/// `unanalyzable` (null, or why). These three are the host's wherever the plugin says something under their names.
pub(super) fn json_line(analysis: &FileAnalysis, text: &mut String) {
    let details: Vec<(&str, &str)> = analysis.details.iter().flat_map(Details::fields).collect();
    let told = |name: &str| details.iter().find(|(known, _)| *known == name);
    let metrics = analysis
        .metrics
        .iter()
        .map(|metric| (metric.name.clone(), Value::from(metric.value)));
    let own = [
        ("\"diagnostics\"", json(&analysis.diagnostics)),
        ("\"metrics\"", json(&metrics.collect::<Map<_, _>>())),
        ("\"unanalyzable\"", json(&analysis.unanalyzable)),
    ];
    let mut field = |name: &str, value: &str| {
        text.push_str(if name == PATH { "{" } else { "," });
        text.push_str(name);
        text.push(':');
        text.push_str(value);
    };
    match told(PATH) {
        Some((_, path)) => field(PATH, path),
        None => field(PATH, &json(&analysis.path)),
    }
    for (name, value) in details.iter().filter(|(name, _)| *name != PATH) {
        let own = own.iter().find(|(known, _)| known == name);
        field(name, own.map_or(*value, |(_, own)| own.as_str()));
    }
    for (name, value) in own.iter().filter(|(name, _)| told(name).is_none()) {
        field(name, value);
    }
    text.push_str("}\n");
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    // Not through `Display`, which goes through a formatter piece by piece.
    serde_json::to_string(value).expect("what is said of a file serializes")
}

/// For people: the numbers, then a line for each finding.
pub(super) fn describe(analysis: &FileAnalysis, text: &mut String) {
    let path = &analysis.path;
    if let Some(why) = &analysis.unanalyzable {
        text.push_str(&format!("{path}: not analysed: {why}\n"));
        return;
    }
    let metrics: Vec<String> = analysis
        .metrics
        .iter()
        .map(|metric| format!("{} {}", metric.name, (metric.value * 1e3).round() / 1e3))
        .collect();
    text.push_str(&format!("{path}: {}\n", metrics.join(", ")));
    for found in &analysis.diagnostics {
        let (line, column) = (found.span.line, found.span.column);
        let severity = format!("{:?}", found.severity).to_lowercase();
        text.push_str(&format!(
            "{path}:{line}:{column}: {severity}: {}\n",
            found.message
        ));
    }
}

#[cfg(test)]
mod tests {
    use domain::{Details, Diagnostic, FileAnalysis, Metric, Severity, Span};
    use serde_json::{Value, json};

    use super::json_line;

    fn line(details: Option<Value>) -> String {
        let metric = |name: &str, value| Metric {
            name: name.to_owned(),
            value,
        };
        let analysis = FileAnalysis {
            path: "a \"b\".py".to_owned(),
            diagnostics: vec![Diagnostic {
                code: "long".to_owned(),
                severity: Severity::Hint,
                span: Span {
                    start: 0,
                    end: 2,
                    line: 1,
                    column: 1,
                },
                message: "It is long.".to_owned(),
                suggestion: None,
            }],
            metrics: vec![metric("x", 1.0), metric("y", 0.5), metric("x", 2.0)],
            details: details.as_ref().map(Details::from),
            unanalyzable: None,
        };
        let mut text = String::new();
        json_line(&analysis, &mut text);
        text
    }

    const DIAGNOSTICS: &str = r#""diagnostics":[{"code":"long","severity":"hint","start":0,"end":2,"line":1,"column":1,"message":"It is long.","suggestion":null}]"#;
    const METRICS: &str = r#""metrics":{"x":2.0,"y":0.5}"#;

    #[test]
    fn a_line_has_the_path_the_details_and_what_the_host_says() {
        let details = json!({ "n": 1.0, "list": ["é\n"] });
        assert_eq!(
            line(Some(details)),
            format!(
                "{{\"path\":\"a \\\"b\\\".py\",\"n\":1.0,\"list\":[\"é\\n\"],{DIAGNOSTICS},{METRICS},\"unanalyzable\":null}}\n"
            )
        );
        for nothing in [None, Some(json!({})), Some(json!([1]))] {
            assert_eq!(
                line(nothing),
                format!(
                    "{{\"path\":\"a \\\"b\\\".py\",{DIAGNOSTICS},{METRICS},\"unanalyzable\":null}}\n"
                )
            );
        }
    }

    #[test]
    fn what_the_host_says_stands_where_the_plugin_has_a_field_of_that_name() {
        let details = json!({ "unanalyzable": 1, "a": 2, "diagnostics": [], "path": "p" });
        assert_eq!(
            line(Some(details)),
            format!("{{\"path\":\"p\",\"unanalyzable\":null,\"a\":2,{DIAGNOSTICS},{METRICS}}}\n")
        );
    }
}
