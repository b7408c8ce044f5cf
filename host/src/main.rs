//! `codetune`: one program, one command a job. See `codetune --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    codetune::cli::main()
}
