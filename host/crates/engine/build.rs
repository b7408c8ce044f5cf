//! With the feature `cuda`: compiles the kernels with nvcc, once for each element type, to images that hold machine code
//! for sm_80 and sm_90 and PTX for every later GPU. Without it: nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=NVCC");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, define) in [
        ("kernels_f32.fatbin", None),
        ("kernels_bf16.fatbin", Some("-DELEMENT_BF16")),
    ] {
        compile(&out.join(name), define);
    }
}

fn compile(image: &Path, define: Option<&str>) {
    let nvcc = nvcc();
    let mut command = Command::new(&nvcc);
    command
        .args(["--fatbin", "-O3", "-std=c++17"])
        .args(["-gencode", "arch=compute_80,code=sm_80"])
        .args(["-gencode", "arch=compute_90,code=sm_90"])
        .args(["-gencode", "arch=compute_80,code=compute_80"])
        .args(define)
        .arg("-o")
        .arg(image)
        .arg("kernels/kernels.cu");
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} failed ({status}): {command:?}", nvcc.display()),
        Err(error) => panic!(
            "{} cannot be started ({error}): set CUDA_HOME to what `.ci/cuda-toolkit FOLDER` prints",
            nvcc.display()
        ),
    }
}

/// `NVCC`, else that of `CUDA_HOME`, else whichever is found.
fn nvcc() -> PathBuf {
    let of_home = || Some(PathBuf::from(std::env::var_os("CUDA_HOME")?).join("bin/nvcc"));
    std::env::var_os("NVCC")
        .map(PathBuf::from)
        .or_else(of_home)
        .unwrap_or_else(|| "nvcc".into())
}
