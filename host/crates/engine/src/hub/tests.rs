//! Fetching from a server on loopback that speaks the hub's protocol.

use std::{collections::BTreeMap, fs, time::Duration};

use domain::{MixedData, RunConfig};
use tempfile::TempDir;

use super::client::Client;
use super::failure::Failure;
use super::server::{COMMIT, Server, Shelf};
use super::{HubEvent, HubSettings, RepoKind, Snapshot, fetch, local};
use crate::{Error, Result, StopFlag};

const WEIGHTS: &[u8] = &[7; 5000];

fn files(names: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let owned = names
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
    owned.collect()
}

fn shelf() -> Shelf {
    let model = files(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"t\": 1}"),
        ("model.safetensors", WEIGHTS),
        ("pytorch_model.bin", b"no"),
        ("README.md", b"no"),
        ("onnx/model.safetensors", b"no"),
    ]);
    let data = files(&[
        ("data/train-00000-of-00001.jsonl", b"{\"text\": \"a\"}\n"),
        ("data/test-00000-of-00001.jsonl", b"{\"text\": \"t\"}\n"),
        ("README.md", b"no"),
    ]);
    Shelf {
        repos: [
            ("models/org/name".to_owned(), model),
            ("datasets/org/rows".to_owned(), data),
        ]
        .into(),
        large: 1000,
        ..Shelf::default()
    }
}

struct Asker {
    server: Server,
    _cache: TempDir,
    settings: HubSettings,
}

fn asker(shelf: Shelf) -> Asker {
    let server = Server::start(shelf);
    let cache = tempfile::tempdir().unwrap();
    let settings = HubSettings {
        cache: cache.path().join("hub"),
        endpoint: server.endpoint(),
        token: None,
        offline: false,
        retries: 0,
        timeout: Duration::from_secs(20),
    };
    Asker {
        server,
        _cache: cache,
        settings,
    }
}

impl Asker {
    fn model(&self) -> Result<Snapshot> {
        fetch(
            &self.settings,
            RepoKind::Model,
            "org/name",
            None,
            &StopFlag::new(),
            &mut |_| {},
        )
    }

    fn refusal(&self, kind: RepoKind, repo: &str, revision: Option<&str>) -> String {
        let found = fetch(
            &self.settings,
            kind,
            repo,
            revision,
            &StopFlag::new(),
            &mut |_| {},
        );
        found.unwrap_err().to_string()
    }
}

#[test]
fn a_model_is_fetched_once_into_the_hubs_own_layout_without_what_it_does_not_need() {
    let asker = asker(shelf());
    let mut events = Vec::new();
    let settings = &asker.settings;
    let stop = StopFlag::new();
    let listen = &mut |event| events.push(event);
    let found = fetch(settings, RepoKind::Model, "org/name", None, &stop, listen).unwrap();
    assert_eq!(found.commit, COMMIT);
    let repo = settings.cache.join("models--org--name");
    assert_eq!(found.folder, repo.join("snapshots").join(COMMIT));
    let mut names: Vec<_> = fs::read_dir(&found.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(
        fs::read(found.folder.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let refs = fs::read_dir(repo.join("refs")).unwrap().count();
    assert_eq!(refs, 1, "the commit is no revision of itself");
    let blob = fs::canonicalize(found.folder.join("model.safetensors")).unwrap();
    assert_eq!(
        blob.parent().unwrap(),
        fs::canonicalize(repo.join("blobs")).unwrap()
    );
    assert!(events.contains(&HubEvent::Progress {
        file: "model.safetensors".into(),
        done: 5000,
        total: 5000
    }));
    let asked = asker.server.asked();
    assert!(
        !asked
            .iter()
            .any(|path| path.contains("pytorch") || path.contains("README")),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .filter(|path| path.contains("resolve"))
            .all(|path| path.contains(COMMIT))
    );
    assert_eq!(asker.model().unwrap(), found);
    assert_eq!(asker.server.asked(), ["/api/models/org/name/revision/main"]);
}

#[test]
fn a_model_in_the_cache_is_there_offline_and_when_the_hub_is_away() {
    let mut asker = asker(shelf());
    asker.settings.offline = true;
    let message = asker.refusal(RepoKind::Model, "org/name", None);
    assert!(
        message.contains("model.repo") && message.contains("HF_HUB_OFFLINE"),
        "{message}"
    );
    assert!(asker.server.asked().is_empty());
    asker.settings.offline = false;
    let found = asker.model().unwrap();
    asker.server.asked();
    asker.settings.offline = true;
    assert_eq!(asker.model().unwrap(), found);
    let by_commit = fetch(
        &asker.settings,
        RepoKind::Model,
        "org/name",
        Some(COMMIT),
        &StopFlag::new(),
        &mut |_| {},
    );
    assert_eq!(by_commit.unwrap(), found);
    assert!(asker.server.asked().is_empty());
    asker.settings.offline = false;
    // Nothing listens on the port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    asker.settings.endpoint = format!("http://{gone}");
    let mut notes = Vec::new();
    let again = fetch(
        &asker.settings,
        RepoKind::Model,
        "org/name",
        None,
        &StopFlag::new(),
        &mut |event| notes.push(event),
    );
    assert_eq!(again.unwrap(), found);
    assert!(
        matches!(&notes[0], HubEvent::Note(note) if note.contains(COMMIT)),
        "{notes:?}"
    );
    // A download that did not come to its end is not taken for whole.
    fs::remove_file(found.folder.join("tokenizer.json")).unwrap();
    asker.settings.offline = true;
    assert!(asker.model().is_err());
}

#[test]
fn a_dataset_comes_with_the_files_of_its_train_split() {
    let asker = asker(shelf());
    let mut config = RunConfig::default();
    config.model.repo = Some("org/name".into());
    config.model.revision = Some("v1".into());
    config.data.repo = Some("org/rows".into());
    let further = MixedData {
        repo: Some("org/rows".into()),
        ..MixedData::default()
    };
    config.data.mix.insert("more".into(), further);
    let local = local(&config, &asker.settings, &StopFlag::new(), &mut |_| {}).unwrap();
    let further = &local.data.mix["more"];
    assert_eq!((&further.repo, &further.path), (&None, &local.data.path));
    assert_eq!(
        (&local.model.repo, &local.data.repo, &local.model.revision),
        (&None, &None, &None)
    );
    let folder = std::path::PathBuf::from(local.data.path.unwrap());
    assert!(folder.ends_with(format!("datasets--org--rows/snapshots/{COMMIT}")));
    assert!(folder.join("data/train-00000-of-00001.jsonl").is_file());
    assert!(!folder.join("data/test-00000-of-00001.jsonl").exists());
    assert_eq!(crate::data::read_documents(&[folder]).unwrap(), ["a"]);
    let refs = asker.settings.cache.join("models--org--name/refs/v1");
    assert_eq!(fs::read_to_string(refs).unwrap(), COMMIT);
}

/// What the dataset `org/parts` declares: two subsets, of which `code` has two splits.
const PARTS: &[u8] = b"---\nconfigs:\n- config_name: words\n  default: true\n  data_files: words/*\n- config_name: code\n  \
    data_files:\n  - split: train\n    path: code/a.jsonl\n  - split: test\n    path: code/b.jsonl\n---\n";

#[test]
fn a_subset_and_a_split_are_fetched_alone_and_each_is_known_offline_by_itself() {
    let mut shelf = shelf();
    let parts = files(&[
        ("README.md", PARTS),
        ("words/a.jsonl", b"{\"text\": \"word\"}\n"),
        ("code/a.jsonl", b"{\"text\": \"code\"}\n"),
        ("code/b.jsonl", b"{\"text\": \"test\"}\n"),
    ]);
    shelf.repos.insert("datasets/org/parts".into(), parts);
    let mut asker = asker(shelf);
    let get = |settings: &HubSettings, subset, split| {
        let mut config = RunConfig::default();
        config.model.path = Some("model".into());
        config.data.repo = Some("org/parts".into());
        config.data.subset = Option::<&str>::map(subset, str::to_owned);
        config.data.split = Option::<&str>::map(split, str::to_owned);
        local(&config, settings, &StopFlag::new(), &mut |_| {}).map(|run| run.data)
    };
    let texts = |data: &domain::DataConfig| -> Vec<String> {
        let rows = crate::data::rows(data).unwrap();
        let texts = rows.map(|row| row.unwrap().0["text"].as_str().unwrap().to_owned());
        texts.collect()
    };
    let code = get(&asker.settings, Some("code"), Some("test")).unwrap();
    let folder = std::path::PathBuf::from(code.path.clone().unwrap());
    assert_eq!(texts(&code), ["test"]);
    assert!(!folder.join("code/a.jsonl").exists() && !folder.join("words").exists());
    asker.settings.offline = true;
    assert_eq!(
        texts(&get(&asker.settings, Some("code"), Some("test")).unwrap()),
        ["test"]
    );
    // Files come whole: what is there for a split is there for its parts.
    let halves = Some("test[:50%]+test[50%:]");
    let parts = get(&asker.settings, Some("code"), halves).unwrap();
    assert_eq!(texts(&parts), ["test"]);
    for (subset, split) in [(None, None), (Some("code"), None), (Some("words"), None)] {
        let message = get(&asker.settings, subset, split).unwrap_err().to_string();
        assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    }
    asker.settings.offline = false;
    // Beside what another subset left in the folder.
    assert_eq!(texts(&get(&asker.settings, None, None).unwrap()), ["word"]);
    assert_eq!(
        texts(&get(&asker.settings, Some("code"), None).unwrap()),
        ["code"]
    );
    let message = get(&asker.settings, Some("prose"), None)
        .unwrap_err()
        .to_string();
    assert!(
        message
            .contains("data.subset: org/parts: \"prose\" is not there; README.md has words, code"),
        "{message}"
    );
    let message = get(&asker.settings, Some("code"), Some("dev"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("data.split: org/parts: \"dev\" is not there; there are train, test"),
        "{message}"
    );
    let mut both = RunConfig::default();
    both.model.path = Some("model".into());
    both.data.repo = Some("org/parts".into());
    both.data.subset = Some("code".into());
    both.data.test_split = Some("test".into());
    let cache = tempfile::tempdir().unwrap();
    let fresh = HubSettings {
        cache: cache.path().join("hub"),
        ..asker.settings.clone()
    };
    let both = local(&both, &fresh, &StopFlag::new(), &mut |_| {}).unwrap();
    let folder = std::path::PathBuf::from(both.data.path.unwrap());
    assert!(folder.join("code/a.jsonl").is_file() && folder.join("code/b.jsonl").is_file());
    let found = super::fetch_split(
        &asker.settings,
        "org/rows",
        None,
        (None, Some("test")),
        &StopFlag::new(),
        &mut |_| {},
    );
    let folder = found.unwrap().folder;
    assert!(folder.join("data/test-00000-of-00001.jsonl").is_file());
    assert!(!folder.join("data/train-00000-of-00001.jsonl").exists());
}

#[test]
fn a_large_file_that_is_not_what_the_hub_says_is_refused_and_removed() {
    let asker = asker(Shelf {
        damage: true,
        ..shelf()
    });
    let message = asker.model().unwrap_err().to_string();
    assert!(
        message.contains("model.safetensors: is not what the hub says"),
        "{message}"
    );
    asker.server.shelf.lock().unwrap().damage = false;
    let found = asker.model().unwrap();
    assert_eq!(
        fs::read(found.folder.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
}

#[test]
fn a_private_repository_comes_with_a_token_that_only_the_hub_sees() {
    let mut asker = asker(Shelf {
        token: Some("secret".into()),
        ..shelf()
    });
    let message = asker.refusal(RepoKind::Model, "org/name", None);
    assert!(message.contains("Set HF_TOKEN"), "{message}");
    asker.settings.token = Some("wrong".into());
    let message = asker.refusal(RepoKind::Model, "org/name", None);
    assert!(
        message.contains("token in HF_TOKEN is not valid"),
        "{message}"
    );
    assert!(!message.contains("wrong"), "{message}");
    asker.settings.token = Some("secret".into());
    let found = asker.model().unwrap();
    assert_eq!(
        fs::read(found.folder.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
    let shelf = asker.server.shelf.lock().unwrap();
    assert!(!shelf.starts.is_empty() && !shelf.token_sent_elsewhere);
    assert!(!format!("{:?}", asker.settings).contains("secret"));
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let asker = asker(Shelf {
        break_after: Some(3000),
        ..shelf()
    });
    let found = asker.model().unwrap();
    let weights = found.folder.join("model.safetensors");
    assert_eq!(fs::read(&weights).unwrap(), WEIGHTS);
    assert_eq!(asker.server.shelf.lock().unwrap().starts, [0, 3000]);

    // A host that sends all of it again is not put behind what is there.
    fs::remove_dir_all(&asker.settings.cache).unwrap();
    let mut shelf = asker.server.shelf.lock().unwrap();
    (shelf.break_after, shelf.no_ranges) = (Some(1200), true);
    drop(shelf);
    asker.model().unwrap();
    assert_eq!(fs::read(&weights).unwrap(), WEIGHTS);
}

#[test]
fn a_download_that_is_stopped_goes_on_the_next_time() {
    let asker = asker(Shelf {
        break_after: Some(3000),
        ..shelf()
    });
    let part = asker.settings.cache.with_extension("part");
    let path = format!("org/name/resolve/{COMMIT}/model.safetensors");
    let stop = StopFlag::new();
    let client = Client::new(&asker.settings, &stop);
    let stopped = client.download(&path, 5000, &part, &mut |done| {
        if done == 3000 {
            stop.stop();
        }
    });
    assert!(matches!(stopped, Err(Failure::Stopped)), "{stopped:?}");
    assert_eq!(fs::read(&part).unwrap(), &WEIGHTS[..3000]);
    let client = Client::new(&asker.settings, &StopFlag::new());
    client.download(&path, 5000, &part, &mut |_| {}).unwrap();
    assert_eq!(fs::read(&part).unwrap(), WEIGHTS);
    assert_eq!(asker.server.shelf.lock().unwrap().starts, [0, 3000]);

    // The whole way, a stop is an error of its own.
    stop.stop();
    let settings = &asker.settings;
    let stopped = fetch(
        settings,
        RepoKind::Model,
        "org/name",
        None,
        &stop,
        &mut |_| {},
    );
    assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
}

#[test]
fn a_hub_that_says_nothing_is_given_up_after_the_time_limit() {
    let mut asker = asker(Shelf {
        silent: true,
        ..shelf()
    });
    asker.settings.timeout = Duration::from_millis(60);
    let message = asker.refusal(RepoKind::Model, "org/name", None);
    assert!(message.contains("check the network"), "{message}");
}

#[test]
fn what_cannot_be_fetched_is_refused_by_name() {
    let mut shelf = shelf();
    let pickles = files(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
    shelf.repos.insert("models/org/pickle".into(), pickles);
    let evil = files(&[
        ("../../escape.safetensors", b"x"),
        ("model.safetensors", b"x"),
    ]);
    shelf.repos.insert("models/org/evil".into(), evil);
    shelf
        .repos
        .insert("datasets/org/none".into(), files(&[("a.png", b"x")]));
    let asker = asker(shelf);
    for (kind, repo, revision, expected) in [
        (
            RepoKind::Model,
            "org/absent",
            None,
            "model.repo: org/absent: does not exist on the hub at revision main",
        ),
        (
            RepoKind::Model,
            "org/name",
            Some("v2"),
            "does not exist on the hub at revision v2",
        ),
        (RepoKind::Model, "org/pickle", None, "pickles only"),
        (
            RepoKind::Model,
            "org/evil",
            None,
            "leads out of the repository",
        ),
        (
            RepoKind::Dataset,
            "org/none",
            None,
            "data.repo: org/none: holds no files with rows",
        ),
        (
            RepoKind::Model,
            "../name",
            None,
            "is no name of a repository",
        ),
        (RepoKind::Model, "a/b/c", None, "is no name of a repository"),
        (
            RepoKind::Model,
            "org/name",
            Some("../x"),
            "is no branch, tag or commit",
        ),
        (
            RepoKind::Model,
            "org/name",
            Some("a?b"),
            "is no branch, tag or commit",
        ),
    ] {
        let message = asker.refusal(kind, repo, revision);
        assert!(message.contains(expected), "{expected:?} in {message:?}");
    }
}

#[test]
fn further_chat_templates_come_with_a_model() {
    let mut shelf = shelf();
    let model = shelf.repos.get_mut("models/org/name").unwrap();
    for name in ["tool_use.jinja", "notes.txt", "deep/rag.jinja"] {
        model.insert(format!("additional_chat_templates/{name}"), b"x".to_vec());
    }
    let asker = asker(shelf);
    let found = asker.model().unwrap();
    let templates = fs::read_dir(found.folder.join("additional_chat_templates")).unwrap();
    let names: Vec<_> = templates.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tool_use.jinja"]);
}
