//! `codetune bench train` without the program around it, so that a change of the engine alone is quick to measure.
//!
//! usage: bench_train MODEL_DIR [f32|bf16|f16] [BATCH] [SEQ] [STEPS] [DEVICE] [none|nf4|q4k|q8_0] [LIMIT]
//!        a folder that is not there is made; LIMIT is memory of the GPU to stay under, such as 7GB
//!        bench_train --generate MODEL_DIR [f32|bf16|f16] [TEXTS] [PROMPT] [NEW] [DEVICE] [nf4|q4k|q8_0]   writes instead
//!        bench_train --device DEVICE   says which GPU that is, or what is missing

use std::path::PathBuf;

use domain::{ModelDtype, Quantize, parse_size};
use engine::bench::{BenchGenerate, BenchTrain, Shape, generate, make_model, train};
use engine::generate::Placement;

type Failed = Box<dyn std::error::Error>;

fn dtype(args: &[String]) -> ModelDtype {
    match args.get(1).map(String::as_str) {
        Some("bf16") => ModelDtype::Bf16,
        Some("f16") => ModelDtype::F16,
        _ => ModelDtype::F32,
    }
}

fn quantize(args: &[String]) -> Option<Quantize> {
    match args.get(6).map(String::as_str) {
        Some("nf4") => Some(Quantize::Nf4),
        Some("q4k") => Some(Quantize::Q4k),
        Some("q8_0") => Some(Quantize::Q8_0),
        _ => None,
    }
}

fn device(args: &[String]) -> String {
    args.get(5).cloned().unwrap_or_else(|| "cpu".into())
}

fn number(args: &[String], at: usize, default: usize) -> Result<usize, std::num::ParseIntError> {
    args.get(at).map_or(Ok(default), |text| text.parse())
}

fn write(args: &[String]) -> Result<(), Failed> {
    let report = generate(&BenchGenerate {
        model: PathBuf::from(
            args.first()
                .ok_or("usage: bench_train --generate MODEL_DIR …")?,
        ),
        batch_size: number(args, 2, 1)?,
        prompt_tokens: number(args, 3, 512)?,
        new_tokens: number(args, 4, 128)?,
        rounds: 3,
        placement: Placement {
            device: device(args),
            dtype: dtype(args),
            quantize: quantize(args),
        },
    })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, device] = args.as_slice()
        && flag == "--device"
    {
        let index: usize = device
            .trim_start_matches("cuda")
            .trim_start_matches(':')
            .parse()
            .unwrap_or(0);
        let gpus = engine::gpu::gpus()?;
        let gpu = gpus
            .get(index)
            .ok_or_else(|| format!("{device} is not there; there are {}", gpus.len()))?;
        println!(
            "{} (compute capability {})",
            gpu.name, gpu.compute_capability
        );
        return Ok(());
    }
    if let [flag, rest @ ..] = args.as_slice()
        && flag == "--generate"
    {
        return write(rest);
    }
    let model = PathBuf::from(args.first().ok_or("usage: bench_train MODEL_DIR …")?);
    if !model.exists() {
        make_model(&Shape::default(), &model)?;
    }
    let report = train(&BenchTrain {
        model,
        batch_size: number(&args, 2, 2)?,
        seq_len: number(&args, 3, 512)?,
        device: device(&args),
        steps: number(&args, 4, 4)?,
        dtype: dtype(&args),
        lora_r: 16,
        quantize: quantize(&args),
        device_memory_limit: args.get(7).map(|size| parse_size(size)).transpose()?,
    })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
