//! A curation: how far it is, and its report.

use actix_web::Responder;
use actix_web::web::Path;
use curation::{BeforeAfter, Example, Misfits, Report, StepReport};
use serde::Serialize;
use uuid::Uuid;

use crate::api::curations::{self, FILES, HELD_OUT};
use crate::curations::{Curation, CurationStatus};
use crate::error::{AppError, HtmlResult, see_other};
use crate::safety::csrf::CheckedForm;
use crate::state::blocking;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct CurationPage {
    is_active: bool,
    can_resume: bool,
    /// 0 to 1, as far as time tells.
    progress: Option<f64>,
    curation: Curation,
    pipeline: String,
    report: Option<ReportView>,
    files: Vec<&'static str>,
}

impl Page for CurationPage {
    const TEMPLATE: &'static str = "curation.html";
}

#[derive(Serialize)]
struct ReportView {
    rows: u64,
    kept: u64,
    held_out: u64,
    rewritten: u64,
    dropped: u64,
    exact_duplicates: u64,
    near_duplicates: u64,
    misfits: Option<Box<Misfits>>,
    duplicate_examples: Vec<Example>,
    steps: Vec<StepView>,
    histograms: Vec<HistogramView>,
}

#[derive(Serialize)]
struct StepView {
    #[serde(flatten)]
    step: StepReport,
    reasons: Vec<ReasonView>,
    histograms: Vec<HistogramView>,
}

#[derive(Serialize)]
struct ReasonView {
    code: String,
    rows: u64,
    examples: Vec<Example>,
}

/// Two histograms over the same bins; shares drive meters, since the page has no inline styles.
#[derive(Serialize)]
struct HistogramView {
    title: String,
    bins: Vec<BinView>,
}

#[derive(Serialize)]
struct BinView {
    up_to: f64,
    before: u64,
    after: u64,
    before_share: f64,
    after_share: f64,
}

impl HistogramView {
    fn of(title: &str, both: &BeforeAfter) -> Self {
        let all = both.before.bins.iter().chain(&both.after.bins);
        let most = all.clone().map(|bin| bin.rows).max().unwrap_or(1).max(1);
        let mut bounds: Vec<f64> = all.map(|bin| bin.up_to).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let rows = |bins: &[curation::Bin], bound: f64| {
            let found = bins.iter().find(|bin| bin.up_to == bound);
            found.map_or(0, |bin| bin.rows)
        };
        let bins = bounds.into_iter().map(|up_to| {
            let before = rows(&both.before.bins, up_to);
            let after = rows(&both.after.bins, up_to);
            BinView {
                up_to,
                before,
                after,
                before_share: before as f64 / most as f64,
                after_share: after as f64 / most as f64,
            }
        });
        Self {
            title: title.to_owned(),
            bins: bins.collect(),
        }
    }
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        let histograms = vec![
            HistogramView::of("Characters of a row", &report.characters),
            HistogramView::of("Lines of a row", &report.lines),
        ];
        let steps = report.steps.into_iter().map(|mut step| {
            let mut reasons: Vec<ReasonView> = std::mem::take(&mut step.reasons)
                .into_iter()
                .map(|(code, reason)| ReasonView {
                    code,
                    rows: reason.rows,
                    examples: reason.examples,
                })
                .collect();
            reasons.sort_by_key(|reason| std::cmp::Reverse(reason.rows));
            let scores = std::mem::take(&mut step.scores);
            let histograms = scores.iter();
            StepView {
                histograms: histograms
                    .map(|(name, both)| HistogramView::of(name, both))
                    .collect(),
                reasons,
                step,
            }
        });
        Self {
            steps: steps.collect(),
            rows: report.rows,
            kept: report.kept,
            held_out: report.held_out,
            rewritten: report.rewritten,
            dropped: report.dropped,
            exact_duplicates: report.exact_duplicates,
            near_duplicates: report.near_duplicates,
            misfits: report.misfits,
            duplicate_examples: report.duplicate_examples,
            histograms,
        }
    }
}

/// `GET /datasets/curations/{id}`; while it is made, the page asks for itself again.
pub async fn show(view: View, id: Path<Uuid>) -> HtmlResult {
    let id = *id;
    let curation = view.state.curations.find(id)?;
    let curations = view.state.curations.clone();
    let pipeline = blocking(move || curations.pipeline(id)).await??;
    let report: Option<ReportView> = match curation.status {
        CurationStatus::Done => Some(curations::report_of(&view.state, id).await?.into()),
        _ => None,
    };
    let holds_out = report.as_ref().is_some_and(|report| report.held_out > 0);
    let files = FILES.into_iter();
    let files = files.filter(|name| *name != HELD_OUT || holds_out);
    view.page(&CurationPage {
        is_active: curation.is_active(),
        can_resume: curation.can_resume(),
        progress: curation.progress(),
        curation,
        pipeline,
        report,
        files: files.collect(),
    })
}

/// `POST /datasets/curations/{id}/stop`.
pub async fn stop(view: View, id: Path<Uuid>, _: CheckedForm) -> Result<impl Responder, AppError> {
    view.state.curations.stop(*id)?;
    Ok(see_other(format!("/datasets/curations/{id}")))
}

/// `POST /datasets/curations/{id}/resume`.
pub async fn resume(
    view: View,
    id: Path<Uuid>,
    _: CheckedForm,
) -> Result<impl Responder, AppError> {
    view.state.curations.resume(*id)?;
    Ok(see_other(format!("/datasets/curations/{id}")))
}

/// `POST /datasets/curations/{id}/delete`.
pub async fn delete(
    view: View,
    id: Path<Uuid>,
    _: CheckedForm,
) -> Result<impl Responder, AppError> {
    curations::remove(&view.state, *id).await?;
    Ok(see_other("/datasets"))
}
