use actix_web::web::{Data, Json};
use serde::Serialize;
use sysinfo::System;
use utoipa::ToSchema;

use crate::error::AppError;
use crate::state::{AppState, WorkerHealth, blocking};

/// The machine and the studio on it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SystemBody {
    /// Version of the program.
    pub version: &'static str,
    /// Seconds since the server started.
    pub uptime_seconds: u64,
    /// Name of the processor.
    pub cpu: String,
    /// Its threads.
    pub cpu_threads: usize,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes that a run could have.
    pub memory_available: u64,
    /// sqlite or postgres.
    pub database: String,
    /// Why the fallback database is in use, when it is.
    pub database_fallback: Option<String>,
    /// running, restarting or elsewhere.
    #[schema(value_type = Object)]
    pub worker: WorkerHealth,
    /// What trains: names for `model.device`.
    pub devices: Vec<String>,
    /// The GPUs among them, now.
    #[schema(value_type = Vec<Object>)]
    pub gpus: Vec<engine::gpu::Gpu>,
    /// Why there is no GPU, and what to do; null where there is one.
    pub gpu_missing: Option<String>,
}

fn machine() -> Result<(String, usize, u64, u64), sysinfo::Error> {
    let mut system = System::new()?;
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let cpus = system.cpus();
    let name = cpus.first().map(|cpu| cpu.brand().trim().to_owned());
    Ok((
        name.unwrap_or_default(),
        cpus.len(),
        system.total_memory(),
        system.available_memory(),
    ))
}

/// The machine now.
///
/// # Errors
/// Never, but for a panic while reading it.
pub async fn read(state: &AppState) -> Result<SystemBody, AppError> {
    let machine = blocking(machine).await?;
    let (cpu, cpu_threads, memory_total, memory_available) = machine.unwrap_or_else(|error| {
        // A page without the processor's name is better than none.
        tracing::debug!("the system cannot be read: {error}");
        Default::default()
    });
    let config = state.config.clone();
    let found = blocking(move || crate::gpu::devices(&config)).await?;
    let names = found.gpus.iter().map(|gpu| format!("cuda:{}", gpu.index));
    Ok(SystemBody {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs(),
        cpu,
        cpu_threads,
        memory_total,
        memory_available,
        database: state.store.backend().as_str().to_owned(),
        database_fallback: state
            .store
            .fallback()
            .map(|fallback| fallback.reason.clone()),
        worker: state.worker(),
        devices: std::iter::once("cpu".to_owned()).chain(names).collect(),
        gpus: found.gpus,
        gpu_missing: found.missing,
    })
}

/// The machine and the studio on it.
#[utoipa::path(get, path = "/api/v1/system", tag = "system", responses((status = 200, body = SystemBody)))]
pub async fn get(state: Data<AppState>) -> Result<Json<SystemBody>, AppError> {
    Ok(Json(read(&state).await?))
}
