//! BLAKE3 of many short inputs at once.
//!
//! Vector units hash up to 16 chunks of 1 KiB side by side, but one input at a time fills them only from 16 KiB on: a file
//! of 4 KiB keeps a quarter of them busy. Chunks of different inputs are as good as chunks of one, as long as each is
//! hashed as the chunk it is (section 2 of the BLAKE3 paper): first chunks together, then second chunks, and so on. The
//! values are those of [`blake3::hash`].
//!
//! The one function of the library that does this is not part of its promised interface; the version is pinned, and the
//! tests compare every length with the ordinary way.

use blake3::hazmat::{
    HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::platform::Platform;
use blake3::{CHUNK_LEN, IncrementCounter};

/// A hash or a chaining value.
type Value = [u8; 32];

/// BLAKE3's initial state.
const IV: &[u32; 8] = &[
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
/// Flags of a chunk's first and last block.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;

/// From this length on an input fills the widest vectors by itself.
const LONG_BYTES: usize = 16 * CHUNK_LEN;
/// Inputs hashed together: as many as the widest vectors take, few enough to stay in the nearest caches.
const TOGETHER: usize = 16;

/// The hash of each input, in order.
#[must_use]
pub fn hash_all(inputs: &[&[u8]]) -> Vec<Value> {
    let mut hashes = Vec::with_capacity(inputs.len());
    for group in inputs.chunks(TOGETHER) {
        hash_group(group, &mut hashes);
    }
    hashes
}

fn hash_group(inputs: &[&[u8]], hashes: &mut Vec<Value>) {
    let is_ours = |input: &[u8]| input.len() > CHUNK_LEN && input.len() < LONG_BYTES;
    let mut chunks: [Vec<Value>; TOGETHER] = Default::default();
    for number in 0..LONG_BYTES / CHUNK_LEN {
        let start = number * CHUNK_LEN;
        let mut whole: [&[u8; CHUNK_LEN]; TOGETHER] = [&[0; CHUNK_LEN]; TOGETHER];
        let mut of = [0; TOGETHER];
        let mut count = 0;
        for (place, input) in inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| is_ours(input))
        {
            let rest = input.get(start..).unwrap_or_default();
            if let Some(chunk) = rest.first_chunk() {
                whole[count] = chunk;
                of[count] = place;
                count += 1;
            } else if !rest.is_empty() {
                chunks[place].push(short_chunk(start, rest));
            }
        }
        let mut values = [[0; 32]; TOGETHER];
        Platform::detect().hash_many(
            &whole[..count],
            IV,
            number as u64,
            IncrementCounter::No,
            0,
            CHUNK_START,
            CHUNK_END,
            values.as_flattened_mut(),
        );
        for (place, value) in of.into_iter().zip(values).take(count) {
            chunks[place].push(value);
        }
        if count == 0 {
            break;
        }
    }
    let all = inputs.iter().zip(&chunks);
    hashes.extend(all.map(|(input, chunks)| {
        if is_ours(input) {
            root(chunks, input.len())
        } else {
            *blake3::hash(input).as_bytes()
        }
    }));
}

/// The last chunk of an input, if it is shorter than others.
fn short_chunk(offset: usize, bytes: &[u8]) -> Value {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset as u64);
    hasher.update(bytes).finalize_non_root()
}

/// The hash of an input from the values of its chunks, two at least.
fn root(chunks: &[Value], bytes: usize) -> Value {
    let (left, right) = halves(chunks, bytes);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

fn subtree(chunks: &[Value], bytes: usize) -> Value {
    if let [only] = chunks {
        return *only;
    }
    let (left, right) = halves(chunks, bytes);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

fn halves(chunks: &[Value], bytes: usize) -> (Value, Value) {
    // Less than 16 KiB.
    let left_bytes = usize::try_from(left_subtree_len(bytes as u64)).unwrap_or(bytes);
    let (left, right) = chunks.split_at(left_bytes / CHUNK_LEN);
    (
        subtree(left, left_bytes),
        subtree(right, bytes - left_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        (0..=250).cycle().step_by(131).take(bytes).collect()
    }

    fn check(lengths: &[usize]) {
        let inputs: Vec<Vec<u8>> = lengths.iter().map(|&bytes| noise(bytes)).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let hashes = hash_all(&inputs);
        assert_eq!(hashes.len(), inputs.len());
        for (hash, input) in hashes.iter().zip(&inputs) {
            assert_eq!(hash, blake3::hash(input).as_bytes(), "{}", input.len());
        }
    }

    #[test]
    fn every_length_hashes_as_it_does_alone() {
        check(&[]);
        for bytes in (0..LONG_BYTES + 2 * CHUNK_LEN).step_by(61) {
            check(&[bytes]);
        }
        for chunks in 0..20 {
            for more in [0, 1, CHUNK_LEN - 1] {
                check(&[chunks * CHUNK_LEN + more]);
            }
        }
    }

    #[test]
    fn inputs_of_all_lengths_side_by_side_keep_to_themselves() {
        check(&[4096; 16]);
        check(&[4096; 100]);
        let mixed: Vec<usize> = (0..500).map(|number| number * 977 % 20_000).collect();
        check(&mixed);
        let inputs: Vec<Vec<u8>> = (0..33u8).map(|byte| vec![byte; 3000]).collect();
        let refs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let mut hashes = hash_all(&refs);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 33);
    }
}
