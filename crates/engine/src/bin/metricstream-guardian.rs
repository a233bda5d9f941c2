//! The guardian by itself, for programs that are not the `metricstream` binary: this crate's tests.

fn main() {
    metricstream_engine::guardian_main(std::env::args_os().skip(1))
}
