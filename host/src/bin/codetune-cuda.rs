//! `codetune-cuda`: the program with the feature `cuda`. See `codetune-cuda devices` and `codetune::gpu`.

use std::process::ExitCode;

fn main() -> ExitCode {
    codetune::cli::main()
}
