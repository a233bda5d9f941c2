//! Every decoder is fed damaged input: none may panic, none may allocate more than the input justifies, and what it takes
//! must be written and read back as the same. The seeds are fixed, so a failure is found again.
#![allow(missing_docs)]
#![allow(unsafe_code)] // An allocator that counts cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use metricstream_wire::fuzz::{self, Target};

const INPUTS_PER_DECODER: u64 = 100_000;

/// What a decoder may have allocated at once per byte of input: the widest field in memory is a list or a text of
/// 24 bytes whose least encoding is one byte, and a list that grows has room for twice what is in it.
const BYTES_PER_INPUT_BYTE: isize = 64;
/// And what it may need besides, for the list that is begun and the copy that is read back.
const BYTES_BESIDES: isize = 2048;

struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let now = NOW.get() + bytes;
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

// SAFETY: all work is the system allocator's; counting touches thread-local cells that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feeds every `nth` of `of` decoders, so that the tests share them evenly.
fn feed_each(nth: usize, of: usize) {
    let targets = fuzz::targets();
    for target in targets.iter().skip(nth).step_by(of) {
        feed(target);
    }
}

fn feed(target: &Target) {
    let mut worst = 0;
    let fed = fuzz::feed(target, 1, INPUTS_PER_DECODER, |input, decode| {
        let before = NOW.get();
        PEAK.set(before);
        decode();
        let peak = PEAK.get() - before;
        let bound = BYTES_BESIDES + BYTES_PER_INPUT_BYTE * input.len().cast_signed();
        assert!(peak <= bound, "{}: {peak} bytes allocated for {} of input", target.name, input.len());
        worst = worst.max(peak / (1 + input.len().cast_signed()));
    });
    assert_eq!(fed.inputs, INPUTS_PER_DECODER);
    // Damage that is always refused at once would prove nothing of what lies behind.
    assert!(fed.taken > fed.inputs / 50, "{}: only {} of {} inputs were taken", target.name, fed.taken, fed.inputs);
    println!("{:45} {:3} % taken, at most {worst} bytes per byte", target.name, fed.taken * 100 / fed.inputs);
}

#[test]
fn the_first_half_of_the_decoders_bears_damaged_input() {
    feed_each(0, 2);
}

#[test]
fn the_second_half_of_the_decoders_bears_damaged_input() {
    feed_each(1, 2);
}

#[test]
fn a_decoder_that_believes_a_count_or_reads_past_the_end_would_be_found_out() {
    let found_out = |decode: fn(Bytes) -> bool| {
        let target = Target::new("flawed", |_| BytesMut::from(&[0, 0, 0, 2, 7, 8][..]), decode);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed(&target))).is_err()
    };
    assert!(found_out(|input| {
        let count = input.first_chunk::<4>().map_or(0, |count| u32::from_be_bytes(*count));
        std::hint::black_box(Vec::<u8>::with_capacity((count >> 8) as usize)).is_empty()
    }));
    assert!(found_out(|input| input[5] == 8));
    assert!(!found_out(|input| input.get(5) == Some(&8)));
}

#[test]
fn the_allocator_counts_so_that_a_bomb_would_be_seen() {
    let before = NOW.get();
    PEAK.set(before);
    drop(std::hint::black_box(vec![0_u8; 1 << 20]));
    assert!(PEAK.get() - before >= 1 << 20);
    assert_eq!(NOW.get(), before);
}
