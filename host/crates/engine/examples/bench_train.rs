//! `codetune bench train` without the program around it, so that a change of the engine alone is quick to measure.
//!
//! usage: bench_train MODEL_DIR [f32|bf16|f16] [BATCH] [SEQ] [STEPS] [DEVICE] [nf4|q4k|q8_0]; a folder that is not there is made.
//!        bench_train --device DEVICE   says which GPU that is, or what is missing

use std::path::PathBuf;

use domain::{ModelDtype, Quantize};
use engine::bench::{BenchTrain, Shape, make_model, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
    let model = PathBuf::from(args.first().ok_or("usage: bench_train MODEL_DIR …")?);
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |text| text.parse());
    if !model.exists() {
        make_model(&Shape::default(), &model)?;
    }
    let report = train(&BenchTrain {
        model,
        batch_size: number(2, 2)?,
        seq_len: number(3, 512)?,
        device: args.get(5).cloned().unwrap_or_else(|| "cpu".into()),
        steps: number(4, 4)?,
        dtype: match args.get(1).map(String::as_str) {
            Some("bf16") => ModelDtype::Bf16,
            Some("f16") => ModelDtype::F16,
            _ => ModelDtype::F32,
        },
        lora_r: 16,
        quantize: match args.get(6).map(String::as_str) {
            Some("nf4") => Some(Quantize::Nf4),
            Some("q4k") => Some(Quantize::Q4k),
            Some("q8_0") => Some(Quantize::Q8_0),
            _ => None,
        },
    })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
