//! One group member as a program of its own, for tests of this crate: the product's binary has it as a subcommand.

fn main() -> std::process::ExitCode {
    metricstream_load::member::main()
}
