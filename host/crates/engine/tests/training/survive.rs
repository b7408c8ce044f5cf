//! What a run survives: being killed at any moment, and a full disk. The training happens in a process of its own,
//! which is this test binary once more.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::{LrSchedulerType, Method, Optim, RunConfig, RunEvent};
use engine::{StopFlag, TrainOptions};

use crate::harness::{config, goldens, random_rows, train, write_rows};

const CONFIG: &str = "CODETUNE_TEST_CONFIG";
const FULL_FROM: &str = "CODETUNE_TEST_FULL_FROM";
const FULL_TO: &str = "CODETUNE_TEST_FULL_TO";

/// Trains in this process when it was started by one of the tests below; writes events to standard error.
#[test]
fn child() {
    let Ok(path) = std::env::var(CONFIG) else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (from, to): (Option<u64>, Option<u64>) = (number(FULL_FROM), number(FULL_TO));
    let text = std::fs::read_to_string(path).unwrap();
    let config = RunConfig::from_toml(&text, &[]).unwrap();
    let options = TrainOptions {
        run: "child".into(),
        resume: true,
        save_pause: Duration::ZERO,
        ..TrainOptions::default()
    };
    let result = engine::train(&config, &options, &StopFlag::new(), &mut |event| {
        let step = match &event {
            RunEvent::Step { step, .. } => Some(*step),
            _ => None,
        };
        eprintln!("EVENT {}", serde_json::to_string(&event).unwrap());
        if step.is_some() && step == from {
            limit_files(100);
        }
        if step.is_some() && step == to {
            limit_files(u64::MAX);
        }
    });
    if let Err(error) = result {
        eprintln!("ERROR {} {error}", error.code());
    }
}

/// Bounds what a file may grow to, which fails as a full disk does and needs no rights.
fn limit_files(bytes: u64) {
    // SAFETY: plain system calls on this process's own limits.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

fn start(config: &RunConfig, more: &[(&str, u64)]) -> Child {
    let path = PathBuf::from(format!("{}.toml", config.train.output));
    std::fs::write(&path, config.to_toml()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "survive::child", "--nocapture"])
        .env(CONFIG, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for (name, value) in more {
        command.env(name, value.to_string());
    }
    command.spawn().unwrap()
}

/// One number after the other, the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Step and loss of a `step` event's text; `serde_json` would read the loss to within its last bit only.
fn told(json: &str) -> Option<(u64, f64)> {
    let value = |key: &str| {
        let from = json.find(key)? + key.len();
        json[from..].split([',', '}']).next()
    };
    let is_step = json.starts_with("{\"event\":\"step\"");
    let step = value("\"step\":")?.parse().ok()?;
    is_step.then_some((step, value("\"loss\":")?.parse().ok()?))
}

fn steps(events: &[RunEvent], into: &mut Vec<(u64, f64)>) {
    for event in events {
        if let RunEvent::Step { step, loss, .. } = event {
            into.push((*step, *loss));
        }
    }
}

/// Runs until done, killed over and over: some rounds after a number of events, some in the middle of a save.
fn killed_over_and_over(config: &RunConfig, seed: u64) -> (usize, Vec<(u64, f64)>) {
    let output = PathBuf::from(&config.train.output);
    let mut draw = Draw(seed);
    let (mut kills, mut seen) = (0, Vec::new());
    loop {
        let mut child = start(config, &[]);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Later rounds are left alone sooner or later, so that the run comes to its end.
        let after = if kills < 12 {
            Some(2 + draw.below(9))
        } else {
            None
        };
        let in_a_save = draw.below(2) == 0;
        let mut done = false;
        let mut count = 0;
        while let Some(Ok(line)) = lines.next() {
            let Some(json) = line.strip_prefix("EVENT ") else {
                assert!(!line.starts_with("ERROR"), "{line}");
                continue;
            };
            let event: RunEvent = serde_json::from_str(json).unwrap();
            done |= matches!(event, RunEvent::Finished { .. });
            seen.extend(told(json));
            count += 1;
            if !done && after.is_some_and(|after| count >= after) {
                // A save that has begun shows as a folder beside the checkpoints.
                let mut tries = 0;
                while in_a_save && !saving(&output) && tries < 200_000 {
                    tries += 1;
                    std::thread::yield_now();
                }
                child.kill().unwrap();
                kills += 1;
                break;
            }
        }
        child.wait().unwrap();
        // What it said before it died.
        for line in lines.map_while(Result::ok) {
            let Some(json) = line.strip_prefix("EVENT ") else {
                continue;
            };
            // The last line may be torn.
            if let Ok(event) = serde_json::from_str(json) {
                done |= matches!(event, RunEvent::Finished { .. });
                seen.extend(told(json));
            }
        }
        if done {
            return (kills, seen);
        }
    }
}

fn saving(output: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(output) else {
        return false;
    };
    entries.flatten().any(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with(".checkpoint-")
    })
}

/// Runs of every method, optimizer and kind of state.
fn kinds(folder: &Path) -> Vec<(&'static str, RunConfig)> {
    let held_out = folder.join("eval.jsonl");
    write_rows(&held_out, &random_rows(3, 30, 9));
    let base = |name: &str| {
        let mut config = config("llama-tied", folder, &random_rows(10, 30, 3));
        config.train.output = folder.join(name).display().to_string();
        config.train.batch_size = 2;
        config.train.gradient_accumulation_steps = 2;
        config.train.max_steps = 9;
        config.train.save_steps = 1;
        config.train.warmup_steps = 2;
        config.lora.r = 2;
        config.lora.lora_dropout = 0.1;
        config
    };
    let mut lion = base("lion");
    lion.train.optim = Optim::Lion;
    lion.train.lr_scheduler_type = LrSchedulerType::CosineWithRestarts;
    lion.train.neftune_noise_alpha = 5.0;
    lion.lora.loraplus_lr_ratio = Some(4.0);
    let mut best = base("best");
    best.train.lr_scheduler_type = LrSchedulerType::WarmupStableDecay;
    best.train.optim = Optim::Adafactor;
    best.data.eval_path = Some(held_out.display().to_string());
    best.train.max_steps = 40;
    best.train.learning_rate = 3e-2;
    best.train.eval_steps = 2;
    best.train.save_steps = 3;
    best.train.save_total_limit = 1;
    best.train.early_stopping_patience = 2;
    best.train.load_best_model_at_end = true;
    let mut full = base("full");
    full.train.method = Method::Full;
    full.lora = Default::default();
    full.train.optim = Optim::Sgd;
    full.train.lr_scheduler_type = LrSchedulerType::Polynomial;
    full.train.max_steps = 5;
    let mut all = vec![
        ("adamw", base("adamw")),
        ("lion", lion),
        ("best", best),
        ("full", full),
    ];
    for (name, method) in [("dpo", Method::Dpo), ("orpo", Method::Orpo)] {
        let mut config = base(name);
        let model = folder.join("words");
        std::fs::create_dir_all(&model).unwrap();
        for from in ["qwen2/model", "preference/tokenizer"] {
            for entry in std::fs::read_dir(goldens().join(from)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
            }
        }
        config.model.path = Some(model.display().to_string());
        let rows = goldens().join("preference/rows.jsonl");
        config.data.path = Some(rows.display().to_string());
        config.data.format = domain::DataFormat::Preference;
        config.train.method = method;
        all.push((name, config));
    }
    all
}

/// Every file of a run's result and of its last checkpoint.
fn files(output: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(output).unwrap().flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
            let name = format!(
                "{}/{}",
                entry.file_name().to_string_lossy(),
                file.file_name().to_string_lossy()
            );
            let bytes = std::fs::read(file.path()).unwrap();
            // These name the run; the rest of the state is compared by what it does.
            if name.ends_with(".safetensors") {
                found.push((name, bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn two_runs_with_one_seed_are_bit_identical() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mut config) in kinds(folder.path()) {
        let first = train(&config);
        first.result.as_ref().unwrap();
        let before = files(Path::new(&config.train.output));
        config.train.output += "-again";
        assert_eq!(first.losses(), train(&config).losses(), "{name}");
        assert!(before == files(Path::new(&config.train.output)), "{name}");
    }
}

#[test]
fn a_run_that_is_killed_over_and_over_ends_as_if_it_never_was() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (name, mut config)) in kinds(folder.path()).into_iter().enumerate() {
        let whole = train(&config);
        whole.result.as_ref().unwrap();
        let mut expected = Vec::new();
        steps(&whole.events, &mut expected);
        let before = files(Path::new(&config.train.output));
        config.train.output += "-killed";
        let (kills, seen) = killed_over_and_over(&config, 7 + index as u64);
        assert!(kills >= 3, "{name}: {kills} kills");
        for (step, loss) in &seen {
            let (_, known) = expected[*step as usize - 1];
            assert_eq!(*loss, known, "{name} step {step}");
        }
        assert_eq!(
            seen.last().map(|(step, _)| *step),
            expected.last().map(|(step, _)| *step)
        );
        let after = files(Path::new(&config.train.output));
        let names = |files: &[(String, Vec<u8>)]| {
            files
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&before), names(&after), "{name}");
        for ((file, a), (_, b)) in before.iter().zip(&after) {
            assert!(a == b, "{name}: {file} differs");
        }
    }
}

/// Runs with files bounded to 100 bytes from one step on, and perhaps free again from another; the run and the child's
/// last error.
fn run_on_a_full_disk(
    config: &RunConfig,
    more: &[(&str, u64)],
) -> (Vec<RunEvent>, Vec<f64>, Option<String>) {
    let output = start(config, more).wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let events = text.lines().filter_map(|line| line.strip_prefix("EVENT "));
    let events = events
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let error = text.lines().find_map(|line| line.strip_prefix("ERROR "));
    let told = text
        .lines()
        .filter_map(|line| told(line.strip_prefix("EVENT ")?));
    let losses = told.map(|(_, loss)| loss).collect();
    (events, losses, error.map(str::to_owned))
}

fn checkpoints(events: &[RunEvent]) -> Vec<u64> {
    let saved = events.iter().filter_map(|event| match event {
        RunEvent::Checkpoint { step, .. } => Some(*step),
        _ => None,
    });
    saved.collect()
}

#[test]
fn a_full_disk_lets_the_run_go_on_and_the_next_save_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = kinds(folder.path()).remove(0).1;
    config.train.max_steps = 40;
    config.train.save_steps = 2;
    let whole = train(&config);
    let before = files(Path::new(&config.train.output));
    config.train.output += "-full";
    let (events, losses, error) = run_on_a_full_disk(&config, &[(FULL_FROM, 5), (FULL_TO, 20)]);
    assert_eq!(error, None);
    let told = events.iter().find_map(|event| match event {
        RunEvent::Log { message } if message.contains("could not be written") => Some(message),
        _ => None,
    });
    let told = told.expect("it says so");
    assert!(told.contains("goes on from memory"), "{told}");
    assert!(checkpoints(&events).len() < 20, "some saves failed");
    assert_eq!(checkpoints(&events).last(), Some(&40));
    assert_eq!(losses, whole.losses());
    let last = |files: &[(String, Vec<u8>)]| {
        let wanted =
            |name: &str| name.starts_with("adapter/") || name.starts_with("checkpoint-40/");
        let kept = files.iter().filter(|(name, _)| wanted(name)).cloned();
        kept.collect::<Vec<_>>()
    };
    assert!(last(&before) == last(&files(Path::new(&config.train.output))));
}

#[test]
fn a_disk_that_stays_full_fails_the_run_clearly_and_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = kinds(folder.path()).remove(0).1;
    config.train.max_steps = 40;
    config.train.save_steps = 2;
    config.train.output += "-full";
    let (events, _, error) = run_on_a_full_disk(&config, &[(FULL_FROM, 5)]);
    let error = error.expect("it fails");
    let kept = *checkpoints(&events).last().unwrap();
    assert!(error.starts_with("io "), "{error}");
    assert!(error.contains("tried 5 times"), "{error}");
    assert!(
        error.contains(&format!("checkpoint-{kept} is kept")),
        "{error}"
    );
    assert!(
        !saving(Path::new(&config.train.output)),
        "no half of one is left"
    );
    let resumed = crate::harness::train_with(&config, true, |_, _| {});
    resumed.result.as_ref().unwrap();
    assert_eq!(resumed.losses().len() as u64, 40 - kept);
}
