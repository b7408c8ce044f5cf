//! Compiles the engine's CUDA kernels as C++, once for each element type, and what stands in for a GPU's threads.

fn main() {
    let kernels = std::path::Path::new("../engine/kernels");
    println!("cargo:rerun-if-changed={}", kernels.display());
    println!("cargo:rerun-if-changed=src");
    for (name, element) in [
        ("kernels_f32", None),
        ("kernels_bf16", Some("ELEMENT_BF16")),
    ] {
        let mut build = compiler();
        build.include(kernels).define("EMULATED", None);
        if let Some(element) = element {
            build.define(element, None);
        }
        // A compiler goes by a file's ending, which is .cu here.
        build
            .flag_if_supported("-xc++")
            .file(kernels.join("kernels.cu"));
        build.compile(name);
    }
    compiler().file("src/emulated.cpp").compile("emulated");
}

fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .include("src")
        .opt_level(2)
        .warnings(false);
    build
}
