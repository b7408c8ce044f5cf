//! The migrations are embedded by a macro that cannot see a new folder.

fn main() {
    println!("cargo:rerun-if-changed=../../../migrations");
}
