//! The vocabulary that every part of the studio shares: plain data and the rules that make it valid.
//!
//! No I/O, no async, no database, no tensors. Start with [`RunConfig`], which is what a RUN.toml, the web
//! form and the API all become, and [`RunEvent`], which is what a run says while it works.

mod analysis;
mod curation;
mod details;
mod event;
mod field_error;
mod lending;
mod plugin;
mod run;
mod run_config;

pub use analysis::{Diagnostic, FileAnalysis, Metric, Severity, SourceFile, Span, SuggestedEdit};
pub use curation::{
    Completion, CurationStep, CurationSummary, Decision, Judged, Only, Reason, Sample, SampleEdit,
    SamplePart, Score, Signature, Verdict,
};
pub use details::{Details, DetailsField};
pub use event::{FinishReason, RunEvent};
pub use field_error::{FieldError, FieldErrors};
pub use lending::{Asks, Canary, CapabilityUse, Change, Grants, Pending};
pub use plugin::{
    Capability, Execution, ExecutionOutcome, PluginHealth, PluginInfo, PluginKind, PluginLimits,
    PluginManifest, PluginMetadata,
};
pub use run::{RunId, RunStatus};
pub use run_config::{
    DataConfig, DataFormat, Documents, FIELDS, Field, FieldKind, FimLoss, FimMode, FimSpan,
    InitLoraWeights, IntervalStrategy, LoraBias, LoraConfig, LossType, LrCurve, LrSchedulerKwargs,
    LrSchedulerType, Method, MixedData, ModelConfig, ModelDtype, Optim, Overflow, PluginStage,
    PluginUse, Quantize, RunConfig, SplitPart, TargetModules, TokenIndices, TrainConfig, TrainOn,
    parse_size,
};
