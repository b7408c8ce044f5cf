//! A run's data through the run's curators, before anything is trained on it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use curation::{HoldOut, Pipeline, Standing, Step};
use domain::{
    CurationSummary, DataConfig, FieldErrors, PluginKind, PluginStage, RunConfig, RunEvent,
};
use engine::StopFlag;
use plugin_host::PluginHost;

use crate::config::Config;
use crate::curate::{Error, Request, curate, standing};

/// Where in `train.output` the curated data lies.
const FOLDER: &str = "curated";
/// What of it is held out, where the curation holds out.
const HELD_OUT: &str = "held-out.jsonl";
/// Progress is told no more often; the store keeps it.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often a process looks whether the one that curates is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A run whose data lies where it is trained on.
#[derive(Debug, Clone)]
pub struct Curated {
    /// With the curated data in place of the dataset.
    pub run: RunConfig,
    /// What the curators made of it.
    pub summary: CurationSummary,
}

/// The pipeline that a run names: that of `data.curate`, then its `[[plugins]]` of the stage curate.
///
/// Where a step is for training alone, `data.eval_split` is held out here: later nobody could tell which rows went past it.
///
/// # Errors
/// Under `data.curate`, a file that cannot be read or is no pipeline for a run.
pub fn pipeline(run: &RunConfig) -> Result<Pipeline, FieldErrors> {
    let wrong =
        |path: &str, error: String| FieldErrors::one("data.curate", format!("{path}: {error}"));
    let mut pipeline = match &run.data.curate {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| wrong(path, error.to_string()))?;
            Pipeline::parse(&text).map_err(|error| wrong(path, error.to_string()))?
        }
        None => Pipeline::parse("").map_err(|error| wrong("", error.to_string()))?,
    };
    if pipeline.hold_out.is_some() {
        return Err(wrong(
            run.data.curate.as_deref().unwrap_or_default(),
            "hold_out is for `codetune dataset curate`; a run holds out by data.eval_split or data.eval_path".to_owned(),
        ));
    }
    let own = run.plugins_of(PluginStage::Curate).map(|plugin| Step {
        name: plugin.name.clone(),
        stage: "curate".to_owned(),
        on_error: Default::default(),
        only: plugin.only,
        config: plugin.config.clone().into_iter().collect(),
    });
    pipeline.steps.extend(own);
    let splits = run.data.eval_path.is_none() && run.data.eval_split > 0.0;
    if splits && pipeline.only_for_training().is_some() {
        pipeline.hold_out = Some(HoldOut {
            share: run.data.eval_split,
            seed: run.train.seed,
        });
    }
    Ok(pipeline)
}

/// Checks that every plugin of a run can be used as the run wants it, so that it is known before the run's turn comes.
///
/// # Errors
/// Every plugin that cannot, under the place that names it.
pub fn check(host: &PluginHost, run: &RunConfig) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    if let Some(path) = &run.data.curate {
        let of_file = RunConfig {
            plugins: Vec::new(),
            ..run.clone()
        };
        for step in pipeline(&of_file)?.steps {
            if let Err(error) = host.job(&step.name, PluginKind::Curator, &step.config) {
                errors.push("data.curate", format!("{path}: {error}"));
            }
        }
    }
    for (index, plugin) in run.plugins.iter().enumerate() {
        let kind = match plugin.stage {
            PluginStage::Curate => PluginKind::Curator,
            PluginStage::Score => PluginKind::Scorer,
        };
        let config = plugin.config.clone().into_iter().collect();
        if let Err(error) = host.job(&plugin.name, kind, &config) {
            errors.push(format!("plugins.{index}"), error.to_string());
        }
    }
    errors.into_result()
}

/// Gives every curator with a setting `seed` the run's, unless the step names one: what draws is drawn anew with another
/// `train.seed`, and the settings that are written down say with which.
fn seed(host: &PluginHost, pipeline: &mut Pipeline, seed: u64) {
    for step in &mut pipeline.steps {
        let metadata = host.find(&step.name).and_then(|plugin| plugin.metadata);
        let takes_seed = metadata
            .is_some_and(|metadata| metadata.config_schema["properties"]["seed"].is_object());
        if takes_seed {
            step.config
                .entry("seed".to_owned())
                .or_insert_with(|| seed.into());
        }
    }
}

/// Curates the data of a run into `train.output/curated`, and each further dataset into `curated.NAME` beside it; what is there
/// already of the same rows, pipeline and plugins is used as it is, and the half of it is gone on from. Another curation's folder
/// is moved aside.
///
/// # Errors
/// A pipeline, plugin, row or folder that cannot be used; [`engine::Error::Stopped`] when the flag was raised, and the next
/// call goes on from there.
pub fn curated(
    config: &Config,
    host: &PluginHost,
    run: &RunConfig,
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> engine::Result<Curated> {
    let mut pipeline = pipeline(run)?;
    seed(host, &mut pipeline, run.train.seed);
    let _alone = alone(&run.train.output, stop, on_event)?;
    let path = Path::new(&run.train.output).join(FOLDER);
    let mut data = run.data.clone();
    let mut summaries = Vec::new();
    for (name, one) in run.data.each() {
        let out = match name {
            None => path.clone(),
            Some(name) => {
                say(on_event, format!("curating data.mix.{name}"));
                path.with_file_name(format!("{FOLDER}.{name}"))
            }
        };
        let (one, summary) = dataset(config, host, (&one, &pipeline, &out), stop, on_event)?;
        summaries.push(summary);
        match name {
            None => {
                data = DataConfig {
                    curate: data.curate,
                    mix: data.mix,
                    ..one
                }
            }
            Some(name) => drop(data.mix.insert(name.to_owned(), one.into())),
        }
    }
    let summary = curation::together(summaries).unwrap_or_default();
    if pipeline.hold_out.is_some() {
        if summary.held_out == 0 {
            return Err(FieldErrors::one(
                "data.eval_split",
                format!(
                    "= {} held out none of the {} rows that the run's curators left; give held-out data as data.eval_path",
                    run.data.eval_split,
                    summary.kept
                ),
            )
            .into());
        }
        data.eval_split = 0.0;
    }
    on_event(RunEvent::Curated {
        path,
        summary: summary.clone(),
    });
    Ok(Curated {
        run: RunConfig {
            data,
            ..run.clone()
        },
        summary,
    })
}

/// Curates one dataset into `out`: the settings that read what is left of it and what is held out, and what became of its rows.
fn dataset(
    config: &Config,
    host: &PluginHost,
    (whole, pipeline, out): (&DataConfig, &Pipeline, &Path),
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> engine::Result<(DataConfig, CurationSummary)> {
    let mut data = engine::data::curated(whole, &out.join("data.jsonl"))?;
    let mut pipeline = pipeline.clone();
    // What the run calls its columns holds for its curators too, unless the pipeline says otherwise.
    for (ours, theirs) in &data.columns {
        let entry = pipeline.columns.entry(ours.clone());
        entry.or_insert_with(|| theirs.clone());
    }
    let request = Request {
        data: whole,
        pipeline: &pipeline,
        out,
        threads: 0,
        forget: false,
    };
    let standing = match out.exists() {
        true => standing(host, &request).map_err(fault)?,
        false => Standing::Open,
    };
    match standing {
        Standing::Done => say(on_event, "the data is curated already".to_owned()),
        Standing::Open => make(config, host, &request, stop, on_event)?,
        Standing::Other => {
            let aside = move_aside(out)?;
            say(
                on_event,
                format!(
                    "the rows, the pipeline or a plugin has changed: moved the earlier curation to {}",
                    aside.display()
                ),
            );
            make(config, host, &request, stop, on_event)?;
        }
    }
    let summary = curation::summary(out).map_err(|error| fault(error.into()))?;
    if summary.kept == 0 {
        return Err(engine::Error::NoSupervisedToken(format!(
            "none of the {} rows is left behind the run's curators; {} says why",
            summary.rows,
            out.join("report.json").display()
        )));
    }
    if whole.test_split.is_some() || pipeline.hold_out.is_some() && summary.held_out > 0 {
        data.eval_path = Some(out.join(HELD_OUT).display().to_string());
    }
    Ok((data, summary))
}

/// Waits until no other process curates the data of the same run: several that train together find done what the first one did.
fn alone(
    output: &str,
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> engine::Result<File> {
    let path = Path::new(output).join(".curated.lock");
    let wrong = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        engine::Error::from(FieldErrors::one("train.output", message))
    };
    std::fs::create_dir_all(output).map_err(wrong)?;
    let file = File::create(&path).map_err(wrong)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if stop.is_stopped() => {
                let message = "while another process curated the run's data";
                return Err(engine::Error::Stopped(message.to_owned()));
            }
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    say(
                        on_event,
                        "another process curates the data of this run".to_owned(),
                    );
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
    }
}

fn make(
    config: &Config,
    host: &PluginHost,
    request: &Request<'_>,
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> engine::Result<()> {
    let mut told: Option<Instant> = None;
    let outcome = curate(config, host, request, stop.as_atomic(), |progress| {
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        told = Some(Instant::now());
        on_event(RunEvent::Curating {
            rows: progress.rows,
            kept: progress.kept,
            seconds: progress.elapsed.as_secs_f64(),
            seconds_left: progress.left.map(|left| left.as_secs_f64()),
        });
    });
    match outcome.map_err(fault)? {
        curation::Outcome::Finished(report) => {
            if let Some(misfits) = &report.misfits {
                say(on_event, misfits.to_string());
            }
            Ok(())
        }
        curation::Outcome::Stopped { rows } => Err(engine::Error::Stopped(format!(
            "stopped while the data was curated, after {rows} rows; a resume goes on from there"
        ))),
    }
}

fn say(on_event: &mut dyn FnMut(RunEvent), message: String) {
    on_event(RunEvent::Log { message });
}

/// Nothing is removed that a run may have been trained on.
fn move_aside(out: &Path) -> engine::Result<PathBuf> {
    let own = out.file_name().unwrap_or_default().to_string_lossy();
    let name = |n: u32| out.with_file_name(format!("{own}-earlier-{n}"));
    let aside = (1..).map(name).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| out.with_file_name(format!("{own}-earlier")));
    std::fs::rename(out, &aside).map_err(engine::Error::io("move", out))?;
    Ok(aside)
}

fn fault(error: Error) -> engine::Error {
    match error {
        Error::Data(error) => error,
        Error::Curation(curation::Error::Io { path, source }) => engine::Error::Io {
            action: "read or write",
            path,
            source,
        },
        error => engine::Error::Input(error.to_string()),
    }
}
