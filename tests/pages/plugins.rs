//! What the pages say of plugins that wait, load or were changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{TestApp, root};

/// Copies a shipped plugin into a folder of plugins; the place where it then lies.
fn copy(name: &str, plugins: &Path) -> PathBuf {
    let place = plugins.join(name);
    std::fs::create_dir_all(&place).unwrap();
    for file in [format!("{name}.wasm"), "plugin.toml".to_owned()] {
        let shipped = root().join("plugins").join(name).join(&file);
        std::fs::copy(shipped, place.join(file)).unwrap();
    }
    place
}

/// A studio with one of the shipped plugins, and its place.
fn with_plugin(name: &str) -> (TestApp, PathBuf) {
    let app = TestApp::new();
    let place = copy(name, &app.state.config.paths.plugins);
    app.state.plugin_host.reload().unwrap();
    (app, place)
}

#[actix_web::test]
async fn a_manifest_that_asks_for_more_waits_and_the_same_component_is_said_to_answer() {
    let (app, place) = with_plugin("nonsense");
    let manifest = "name = \"nonsense\"\ncomponent = \"nonsense.wasm\"\n\
        capabilities = [\"config\", \"generate\"]\n[asks]\ntokens = 9\n";
    std::fs::write(place.join("plugin.toml"), manifest).unwrap();
    app.state.plugin_host.reload().unwrap();
    let plugin = app.get("/api/v1/plugins/nonsense").await.json();
    assert_eq!(plugin["health"]["state"], "ready", "{plugin}");
    assert_eq!(plugin["pending"]["digest"], plugin["digest"]);
    for path in ["/plugins/nonsense", "/plugins"] {
        let page = app.get(path).await.body;
        assert!(
            page.contains("the one before it answers until then"),
            "{page}"
        );
        assert!(!page.contains("put the earlier file back"), "{page}");
        assert!(page.contains("#consent\">Say what it may use."), "{page}");
    }
}

#[actix_web::test]
async fn the_page_of_a_plugin_that_is_still_compiled_says_so_and_not_that_there_is_none() {
    let app = TestApp::new().restarted_within(Duration::ZERO, |config| {
        // A cache of its own, where nothing is compiled yet.
        let cache = config.paths.plugin_cache();
        std::fs::remove_file(&cache)
            .or_else(|_| std::fs::remove_dir_all(&cache))
            .unwrap();
        copy("js-tests", &config.paths.plugins);
    });
    let all = app.get("/plugins").await.body;
    let early = app.get("/plugins/js-tests").await;
    assert!(all.contains("being loaded"), "{all}");
    assert_eq!(early.status, 409, "{}", early.body);
    assert!(early.body.contains("<h1>Not now</h1>"), "{}", early.body);
    assert!(
        early.body.contains("still being compiled"),
        "{}",
        early.body
    );
    let begun = Instant::now();
    while app.get("/plugins/js-tests").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(120));
        actix_web::rt::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_setting_that_is_json_shows_what_that_looks_like() {
    let (app, _) = with_plugin("fim-splits");
    for path in ["/plugins/fim-splits", "/datasets/curate"] {
        let page = app.get(path).await.body;
        assert!(
            page.contains("As JSON, such as <code>[&quot;body&quot;]</code>."),
            "{path}: {page}"
        );
    }
}

#[actix_web::test]
async fn a_plugin_that_does_not_load_says_so_in_a_sentence_and_shows_nothing_empty() {
    let app = TestApp::new();
    let place = app.state.config.paths.plugins.join("broken");
    std::fs::create_dir_all(&place).unwrap();
    let manifest = "name = \"broken\"\ncomponent = \"broken.wasm\"\n";
    std::fs::write(place.join("plugin.toml"), manifest).unwrap();
    std::fs::write(place.join("broken.wasm"), "no component").unwrap();
    app.state.plugin_host.reload().unwrap();
    for path in ["/plugins/broken", "/plugins"] {
        let page = app.get(path).await.body;
        assert!(
            page.contains("It does not load: is no WebAssembly component"),
            "{page}"
        );
        assert!(!page.contains("<dt>Abilities</dt>"), "{page}");
        assert!(!page.contains("<dt>Digest</dt>"), "{page}");
    }
}
