//! The whole default pipeline, with the plugins that are shipped.

use std::collections::BTreeMap;
use std::path::Path;

use curation::{Curator, Options};
use domain::{Judged, PluginKind, Sample, Verdict};
use plugin_host::{HostConfig, PluginHost, PluginJob};
use serde_json::Value;

use crate::{lines, options, output, row, run};

struct Shipped(PluginJob);

impl Curator for Shipped {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn digest(&self) -> &str {
        self.0.digest()
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn config(&self) -> &BTreeMap<String, Value> {
        self.0.config()
    }

    fn curate(&self, samples: &[Sample]) -> Vec<Judged<Verdict>> {
        self.0.curate(samples)
    }
}

const CURATORS: [&str; 3] = ["curator-rules", "secrets", "near-duplicates"];

/// With those three alone: all that are shipped take a minute to compile.
fn host(folder: &Path) -> PluginHost {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins");
    let plugins_dir = folder.join("plugins");
    for name in CURATORS {
        std::fs::create_dir_all(plugins_dir.join(name)).unwrap();
        for file in ["plugin.toml", &format!("{name}.wasm")] {
            let place = Path::new(name).join(file);
            std::fs::copy(shipped.join(&place), plugins_dir.join(&place)).unwrap();
        }
    }
    PluginHost::open(HostConfig {
        plugins_dir,
        cache_dir: folder.join("cache"),
        remembers: false,
    })
    .unwrap()
}

#[test]
fn the_default_pipeline_cleans_a_dataset_the_same_way_on_any_number_of_threads() {
    let place = tempfile::tempdir().unwrap();
    let host = host(place.path());
    let function = |n: usize| {
        let body: Vec<String> = (0..40)
            .map(|line| format!("    value_{line} = compute_{n}(argument_{line})\n"))
            .collect();
        format!("def function_{n}():\n{}    return value_0\n", body.concat())
    };
    let near = format!("{}\nlast = function_0()\n", function(0));
    let secret = format!("token = 'ghp_{}'\n{}", "A1b2C3d4".repeat(5), function(1));
    let texts = [
        function(0),
        near,
        function(0),
        secret,
        format!("x = '{}'\n", "word ".repeat(500)),
        "# Automatically generated, do not edit.\nx = value\n".to_owned(),
        function(2),
    ];
    let curate = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let jobs = CURATORS.map(|name| {
            Shipped(
                host.job(name, PluginKind::Curator, &BTreeMap::new())
                    .unwrap(),
            )
        });
        let curators: Vec<&dyn Curator> = jobs.iter().map(|job| job as &dyn Curator).collect();
        let rows = texts
            .iter()
            .enumerate()
            .map(|(n, text)| row(n, text))
            .collect();
        let options = Options {
            threads,
            ..options(folder.path())
        };
        let report = run(&curators, rows, &options).unwrap();
        let data = lines(&folder.path().join("data.jsonl"));
        (report, data, output(folder.path()))
    };
    let (report, data, files) = curate(1);
    let ids: Vec<&Value> = data.iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [0, 3, 6]);
    assert!(
        data[1]["text"]
            .as_str()
            .unwrap()
            .starts_with("token = '<KEY>'\n")
    );
    assert_eq!((report.exact_duplicates, report.near_duplicates), (1, 1));
    assert_eq!(report.steps[0].reasons["long-line"].rows, 1);
    assert_eq!(report.steps[0].reasons["generated"].rows, 1);
    assert_eq!(report.steps[1].reasons["github-token"].rows, 1);
    assert_eq!(curate(3).2, files);
}
