use actix_web::web::Query;
use domain::RunId;
use serde::Serialize;
use serde_json::Value;
use store::{Run, RunFilter};

use super::run_view::RunView;
use crate::error::{AppError, HtmlResult};
use crate::templates::{Page, View};

const MOST: usize = 8;

#[derive(Serialize)]
struct ComparePage {
    runs: Vec<Compared>,
    /// More were asked for than fit on one chart.
    most: Option<usize>,
    /// For choosing, when fewer than two are chosen.
    all: Vec<RunView>,
    differences: Vec<Difference>,
}

impl Page for ComparePage {
    const TEMPLATE: &'static str = "compare.html";
}

#[derive(Serialize)]
struct Compared {
    run: RunView,
    min_loss: Option<f64>,
    best_eval: Option<f64>,
}

#[derive(Serialize)]
struct Difference {
    path: String,
    values: Vec<String>,
}

/// `GET /compare?runs=a,b` or `?runs=a&runs=b`.
pub async fn show(view: View, query: Query<Vec<(String, String)>>) -> HtmlResult {
    let mut ids = Vec::new();
    for text in query
        .iter()
        .filter(|(key, _)| key == "runs")
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let id: RunId = text
            .parse()
            .map_err(|_| AppError::not_found(format!("{text:?} is no id of a run.")))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let most = (ids.len() > MOST).then_some(MOST);
    ids.truncate(MOST);
    let (found, all) = view
        .state
        .store(move |store| {
            let mut found = Vec::new();
            for id in ids {
                let Some(run) = store.find_run(id)? else {
                    return Err(store::Error::NotFound {
                        what: "run",
                        id: id.to_string(),
                    });
                };
                // Reduced curves keep their lowest value.
                let lowest = |name: &str| -> Result<Option<f64>, store::Error> {
                    Ok(store
                        .metrics(id, name, 200)?
                        .iter()
                        .map(|point| point.value)
                        .min_by(f64::total_cmp))
                };
                found.push((lowest("loss")?, lowest("eval_loss")?, run));
            }
            Ok((found, store.list_runs(&RunFilter::default())?))
        })
        .await?;
    let configs: Vec<&Run> = found.iter().map(|(_, _, run)| run).collect();
    let differences = differences(&configs);
    view.page(&ComparePage {
        differences,
        most,
        runs: found
            .into_iter()
            .map(|(min_loss, best_eval, run)| Compared {
                run: run.into(),
                min_loss,
                best_eval,
            })
            .collect(),
        all: all.into_iter().map(Into::into).collect(),
    })
}

/// Settings in which the runs are not alike.
fn differences(runs: &[&Run]) -> Vec<Difference> {
    let flat: Vec<Vec<(String, Value)>> = runs
        .iter()
        .map(|run| {
            let mut leaves = Vec::new();
            let value = serde_json::to_value(&run.config).expect("a run config serializes");
            flatten("", &value, &mut leaves);
            leaves
        })
        .collect();
    let mut paths: Vec<&String> = Vec::new();
    for (path, _) in flat.iter().flatten() {
        // The results' folder always differs and says nothing.
        if !paths.contains(&path) && path != "train.output" {
            paths.push(path);
        }
    }
    paths
        .into_iter()
        .filter_map(|path| {
            let values: Vec<String> = flat
                .iter()
                .map(|leaves| {
                    leaves
                        .iter()
                        .find(|(key, _)| key == path)
                        .map(|(_, value)| shown(value))
                        .unwrap_or_else(|| "–".to_owned())
                })
                .collect();
            values
                .iter()
                .any(|value| *value != values[0])
                .then(|| Difference {
                    path: path.clone(),
                    values,
                })
        })
        .collect()
}

fn flatten(path: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, leaves);
            }
        }
        leaf => leaves.push((path.to_owned(), leaf.clone())),
    }
}

/// An item of a list; a plugin of the run as its stage, its name and what is set.
fn item(value: &Value) -> String {
    let (Some(name), Some(stage)) = (value["name"].as_str(), value["stage"].as_str()) else {
        return shown(value);
    };
    match &value["config"] {
        Value::Object(config) if !config.is_empty() => {
            format!("{stage} {name} {}", value["config"])
        }
        _ => format!("{stage} {name}"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shown;

    #[test]
    fn lists_and_plugins_are_written_as_people_say_them() {
        assert_eq!(shown(&json!(["q_proj", "v_proj"])), "q_proj, v_proj");
        assert_eq!(shown(&json!([0, 2])), "0, 2");
        let plugins = json!([
            { "name": "secrets", "stage": "curate", "config": { "action": "drop" } },
            { "name": "parses", "stage": "score", "config": {} },
        ]);
        assert_eq!(
            shown(&plugins),
            r#"curate secrets {"action":"drop"}, score parses"#
        );
    }
}
