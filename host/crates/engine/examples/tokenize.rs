//! How fast source becomes samples on one core: `cargo run --release -p engine --example tokenize MODEL FOLDER`.

use std::{path::Path, time::Instant};

use domain::{DataConfig, DataFormat};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tokenize MODEL FOLDER".into());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()?;
    for format in [DataFormat::SourceTree, DataFormat::Text] {
        let config = DataConfig {
            path: Some(folder.clone()),
            format,
            overflow: domain::Overflow::Split,
            packing: true,
            ..DataConfig::default()
        };
        let found = engine::data::inspect(Path::new(&folder), &config, None, 0)?;
        let begun = Instant::now();
        let data = engine::data::load(&config, Path::new(&model), 0)?;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{format:?}: {} characters, {} tokens in {seconds:.2} s: {:.1} MB/s",
            found.characters,
            data.report.tokens,
            found.characters as f64 / seconds / 1e6,
        );
    }
    Ok(())
}
