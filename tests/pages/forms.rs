//! Forms: what is wrong is said at its field, and nothing is changed without the token.

use actix_web::http::Method;
use domain::{Only, RunEvent, RunId, RunStatus};
use serde_json::json;

use crate::harness::{TestApp, request, root, run_config, started, step};

/// A model folder and a data file that exist.
fn golden() -> (String, String) {
    let model = root().join("tests/fixtures/goldens/llama-tied/model");
    (
        model.display().to_string(),
        root().join("Cargo.toml").display().to_string(),
    )
}

#[actix_web::test]
async fn what_is_out_of_range_is_refused_at_its_field() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    for (field, value, message) in [
        ("train.learning_rate", "NaN", "must be a finite number"),
        ("train.learning_rate", "inf", "must be a finite number"),
        ("train.learning_rate", "11", "must be between"),
        ("train.batch_size", "0", "must be between 1 and 4096, not 0"),
        ("train.save_steps", "2.5", "must be a whole number"),
        ("lora.r", "100000", "must be between 1 and 1024"),
        ("model.dtype", "f64", "f64"),
        ("model.path", "none/such", "there is no none/such"),
        ("model.device", "gpu", "must be auto, cpu"),
    ] {
        let mut fields = vec![("model.path", model.as_str()), ("data.path", data.as_str())];
        fields.push((field, value));
        let answer = app.post_form(&visitor, "/runs/new", &fields).await;
        assert_eq!(answer.status, 422, "{field}={value}: {}", answer.body);
        let at = answer.body.find(&format!("id=\"e-{field}\""));
        let at = at.unwrap_or_else(|| panic!("{field}={value} has no error at its field"));
        let shown = answer.body[at..].split("</p>").next().unwrap();
        assert!(shown.contains(message), "{field}={value}: {shown}");
        assert!(
            answer.body.contains(&format!("value=\"{value}\"")) || field == "model.dtype",
            "what was typed stays"
        );
    }
    assert_eq!(
        app.state
            .store
            .list_runs(&Default::default())
            .unwrap()
            .len(),
        0
    );
}

#[actix_web::test]
async fn a_further_dataset_that_is_not_there_is_told_by_its_name() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    let fields = [
        ("model.path", model.as_str()),
        ("data.path", data.as_str()),
        ("data.mix", "docs = { path = \"none/such\" }"),
    ];
    let answer = app.post_form(&visitor, "/runs/new", &fields).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let at = answer.body.find("id=\"e-data.mix\"").unwrap();
    let shown = answer.body[at..].split("</p>").next().unwrap();
    assert!(
        shown.contains("docs.path: there is no none/such"),
        "{shown}"
    );
}

#[actix_web::test]
async fn a_good_form_makes_one_run_whose_folder_the_studio_chooses() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    let answer = app
        .post_form(
            &visitor,
            "/runs/new",
            &[
                ("name", "  My run "),
                ("model.path", &model),
                ("data.path", &data),
                ("data.shuffle", "true"),
                ("train.output", "/somewhere/else"),
                ("train.learning_rate", "1e-3"),
                ("lora.target_modules", "q_proj, v_proj"),
            ],
        )
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let runs = app.state.store.list_runs(&Default::default()).unwrap();
    assert_eq!(runs.len(), 1);
    let run = &runs[0];
    assert_eq!(answer.header("location"), format!("/runs/{}", run.id));
    assert_eq!(run.name, "My run");
    assert_eq!(run.config.train.learning_rate, 1e-3);
    assert_eq!(
        run.config.train.output,
        app.state.config.paths.run(run.id).display().to_string()
    );
}

#[actix_web::test]
async fn run_again_shows_every_setting_and_which_plugin_cannot_be_used() {
    let app = TestApp::with_shipped_plugins();
    let mut config = run_config();
    config.data.chat_template = Some("\n{% for m in messages %}\n{% endfor %}".into());
    config.lora.target_modules = domain::TargetModules::List(vec!["q_proj".into()]);
    config.lora.rank_pattern.insert("v_proj".into(), 4);
    let curator = |name: &str, config: serde_json::Value| {
        serde_json::from_value(json!({ "name": name, "stage": "curate", "config": config }))
    };
    config.plugins = vec![
        curator("curator-rules", json!({ "pack": "opencoder" })).unwrap(),
        curator("secrets", json!({})).unwrap(),
        curator("curator-rules", json!({ "pack": "bigcode" })).unwrap(),
        curator("not-here", json!({})).unwrap(),
    ];
    let id = RunId::new();
    let new = store::NewRun {
        id,
        name: "n".repeat(120),
        config,
    };
    app.state.store.create_run(&new).unwrap();
    let off = json!({ "enabled": false });
    let answer = app
        .json(Method::PUT, "/api/v1/plugins/secrets/enabled", off)
        .await;
    assert!(answer.status.is_success(), "{}", answer.body);
    let page = app.get(&format!("/runs/new?from={id}")).await.body;
    for part in [
        // Of two line ends at the beginning of a text box a browser drops one.
        ">\n\n{% for m in messages %}\n{% endfor %}</textarea>",
        "value=\"q_proj,\"",
        "v_proj = 4</textarea>",
        "name=\"plugin.curate.curator-rules\" value=\"true\" checked",
        "name=\"plugin.curate.curator-rules#2\" value=\"true\" checked",
        "name=\"plugin-config.curate.curator-rules#2\" value=\"{&quot;pack&quot;:&quot;bigcode&quot;}\"",
        "It is disabled.",
        "This plugin is not here.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let name = format!("value=\"{} again\"", "n".repeat(114));
    assert!(page.contains(&name), "a name that fits");
}

#[actix_web::test]
async fn a_pasted_run_toml_obeys_the_same_rules() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    let good = format!("[model]\npath = {model:?}\n[data]\npath = {data:?}\n[train]\nepochs = 2\n");
    let answer = app
        .post_form(&visitor, "/runs/new", &[("toml", &good)])
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    for (bad, message) in [
        (good.replace("epochs", "epoch"), "epoch"),
        (
            good.replace("epochs = 2", "learning_rate = nan"),
            "must be a finite number",
        ),
        (good.replace("[train]", "[train"), "not valid TOML at line"),
    ] {
        let answer = app
            .post_form(&visitor, "/runs/new", &[("toml", &bad)])
            .await;
        assert_eq!(answer.status, 422, "{bad}");
        assert!(answer.body.contains(message), "{message}: {}", answer.body);
    }
}

#[actix_web::test]
async fn the_preview_shows_a_run_toml_or_what_is_wrong() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    let fields = [
        ("model.path", model.as_str()),
        ("data.path", data.as_str()),
        ("train.epochs", "7"),
    ];
    let answer = app.post_form(&visitor, "/runs/preview", &fields).await;
    assert!(answer.body.contains("epochs = 7.0"), "{}", answer.body);
    let answer = app
        .post_form(&visitor, "/runs/preview", &[("train.epochs", "x")])
        .await;
    assert!(
        answer.body.contains("<code>train.epochs</code>"),
        "{}",
        answer.body
    );
}

#[actix_web::test]
async fn a_curator_is_kept_off_what_is_held_out_by_a_box_that_is_still_ticked_for_the_next_run() {
    let app = TestApp::new();
    let place = app.state.config.paths.plugins.join("nonsense");
    std::fs::create_dir_all(&place).unwrap();
    for file in ["nonsense.wasm", "plugin.toml"] {
        let shipped = root().join("plugins/nonsense").join(file);
        std::fs::copy(shipped, place.join(file)).unwrap();
    }
    app.state.plugin_host.reload().unwrap();
    let visitor = app.visitor().await;
    let (model, data) = golden();
    let fields = [
        ("model.path", model.as_str()),
        ("data.path", data.as_str()),
        ("plugin.curate.nonsense", "true"),
        ("plugin-config.curate.nonsense", "{\"rate\": 0.5}"),
        ("plugin-only.curate.nonsense", "true"),
    ];
    let answer = app.post_form(&visitor, "/runs/new", &fields).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let run = app
        .state
        .store
        .list_runs(&Default::default())
        .unwrap()
        .remove(0);
    assert_eq!(run.config.plugins[0].only, Some(Only::Train));
    assert_eq!(run.config.plugins[0].config["rate"], 0.5);
    let page = app.get(&format!("/runs/new?from={}", run.id)).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let ticked = "name=\"plugin-only.curate.nonsense\" value=\"true\" checked";
    assert!(page.body.contains(ticked), "{}", page.body);
}

#[actix_web::test]
async fn a_run_can_be_stopped_resumed_renamed_and_deleted_from_its_page() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let id = app.run("first name");
    let status = |id| app.state.store.find_run(id).unwrap().map(|run| run.status);
    let post = async |what: &str, fields: &[(&str, &str)]| {
        app.post_form(&visitor, &format!("/runs/{id}/{what}"), fields)
            .await
    };
    assert_eq!(post("stop", &[]).await.status, 303);
    assert_eq!(status(id), Some(RunStatus::Stopped));
    assert_eq!(post("resume", &[]).await.status, 303);
    assert_eq!(status(id), Some(RunStatus::Queued));
    assert_eq!(post("delete", &[]).await.status, 409);
    assert_eq!(post("rename", &[("name", " ")]).await.status, 422);
    assert_eq!(post("rename", &[("name", "second name")]).await.status, 303);
    assert!(app.get("/runs").await.body.contains("second name"));
    post("stop", &[]).await;
    assert_eq!(post("delete", &[]).await.status, 303);
    assert_eq!(status(id), None);
}

#[actix_web::test]
async fn a_deleted_run_takes_its_folder_along() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let id = app.ended_run(
        "r",
        &[
            started(1),
            step(1, 1.0),
            RunEvent::Log {
                message: "x".into(),
            },
        ],
        RunStatus::Completed,
    );
    let folder = app.state.config.paths.run(id);
    std::fs::create_dir_all(folder.join("checkpoint-1")).unwrap();
    app.post_form(&visitor, &format!("/runs/{id}/delete"), &[])
        .await;
    assert!(!folder.exists());
}

#[actix_web::test]
async fn a_form_without_its_token_changes_nothing() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let other = app.visitor().await;
    let id = app.run("r");
    let path = format!("/runs/{id}/rename");
    let send = async |cookie: Option<&str>, token: Option<&str>| {
        let mut form = vec![("name", "changed")];
        form.extend(token.map(|token| ("csrf", token)));
        let mut request = request(Method::POST, &path);
        if let Some(cookie) = cookie {
            request = request.insert_header(("cookie", cookie));
        }
        app.send(request.set_form(form)).await.status
    };
    assert_eq!(send(None, None).await, 403);
    assert_eq!(send(None, Some(&visitor.token)).await, 403);
    assert_eq!(send(Some(&visitor.cookie), None).await, 403);
    assert_eq!(send(Some(&visitor.cookie), Some("")).await, 403);
    assert_eq!(send(Some(&visitor.cookie), Some(&other.token)).await, 403);
    assert_eq!(app.state.store.find_run(id).unwrap().unwrap().name, "r");
    assert_eq!(send(Some(&visitor.cookie), Some(&visitor.token)).await, 303);
}

#[actix_web::test]
async fn the_sample_starts_with_one_click_and_each_has_its_own_name() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    assert!(app.get("/").await.body.contains("Start the sample run"));
    for name in ["Sample LoRA run", "Sample LoRA run 2"] {
        let answer = app.post_form(&visitor, "/runs/sample", &[]).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let page = app.get(answer.header("location")).await;
        assert!(page.body.contains(&format!("<title>{name} ·")), "{name}");
    }
    let runs = app.state.store.list_runs(&Default::default()).unwrap();
    // Of those that are left none may get a namesake.
    let first = runs.iter().find(|run| run.name == "Sample LoRA run");
    let first = first.unwrap().id;
    app.post_form(&visitor, &format!("/runs/{first}/stop"), &[])
        .await;
    app.post_form(&visitor, &format!("/runs/{first}/delete"), &[])
        .await;
    app.post_form(&visitor, "/runs/sample", &[]).await;
    let mut names: Vec<_> = app.state.store.list_runs(&Default::default()).unwrap();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = names.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["Sample LoRA run", "Sample LoRA run 2"]);
    let model = runs[0].config.model.path.as_deref().unwrap();
    // The worker may have been started in another folder.
    assert!(std::path::Path::new(model).is_absolute(), "{model}");
}
