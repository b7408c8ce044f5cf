use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::Quantize;

use super::*;
use crate::model::{named_generator, normal};

fn values(count: usize) -> Vec<f32> {
    normal(&mut named_generator(7, "packed"), count, 0.02)
}

fn pack(values: &[f32], shape: (usize, usize), quantize: Quantize) -> Packed {
    let mut read = |from: usize, len: usize| Ok(values[from..from + len].to_vec());
    Packed::pack("w".into(), shape, quantize, &mut read).unwrap()
}

fn error(got: &[f32], exact: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let wrong: f64 = got.iter().zip(exact).map(|(a, b)| square(a - b)).sum();
    (wrong / exact.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}

#[test]
fn each_kind_unpacks_to_the_same_bits_as_candle_does() {
    let exact = values(64 * 512);
    let tensor = Tensor::from_vec(exact.clone(), (64, 512), &Device::Cpu).unwrap();
    for (kind, candle) in [
        (Kind::Q4_0, GgmlDType::Q4_0),
        (Kind::Q4_1, GgmlDType::Q4_1),
        (Kind::Q5_0, GgmlDType::Q5_0),
        (Kind::Q5_1, GgmlDType::Q5_1),
        (Kind::Q8_0, GgmlDType::Q8_0),
        (Kind::Q4K, GgmlDType::Q4K),
        (Kind::Q5K, GgmlDType::Q5K),
        (Kind::Q6K, GgmlDType::Q6K),
    ] {
        assert_eq!(kind.bytes(), candle.type_size(), "{kind:?}");
        let quantized = QTensor::quantize(&tensor, candle).unwrap();
        let expected: Vec<f32> = quantized
            .dequantize(&Device::Cpu)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let bytes = quantized.data().unwrap().into_owned();
        assert_eq!(
            bytes,
            ggml::pack(kind, exact.len(), &mut |from, len| Ok(exact
                [from..from + len]
                .to_vec()))
            .unwrap(),
            "{kind:?}"
        );
        let packed = Packed {
            name: "w".into(),
            outputs: 64,
            inputs: 512,
            blocks: Blocks::Ggml(kind, bytes),
        };
        let mut got = vec![f32::NAN; exact.len()];
        packed.unpack(0, &mut got);
        assert_eq!(got, expected, "{kind:?}");
        // Somewhere in the middle of blocks, and over the border of a task.
        let mut got = vec![f32::NAN; 17_000];
        packed.unpack(77, &mut got);
        assert_eq!(got, expected[77..17_077], "{kind:?}");
    }
}

#[test]
fn normal_weights_keep_the_accuracy_that_each_kind_promises() {
    let exact = values(256 * 1024);
    for (quantize, largest, bytes) in [
        (Quantize::Nf4, 0.10, 0.52),
        (Quantize::Q4k, 0.08, 0.57),
        (Quantize::Q8_0, 0.007, 1.07),
    ] {
        let packed = pack(&exact, (256, 1024), quantize);
        let mut got = vec![f32::NAN; exact.len()];
        packed.unpack(0, &mut got);
        let error = error(&got, &exact);
        assert!(error < largest, "{quantize:?} errs by {error}");
        let per_weight = packed.bytes() as f64 / exact.len() as f64;
        assert!(per_weight < bytes, "{quantize:?}: {per_weight} bytes");
    }
}

#[test]
fn rows_that_are_no_whole_number_of_blocks_are_packed_and_read_all_the_same() {
    // Neither a row nor the whole is a multiple of a block.
    let (rows, columns) = (37, 83);
    let exact = values(rows * columns);
    for quantize in [Quantize::Nf4, Quantize::Q4k, Quantize::Q8_0] {
        let packed = pack(&exact, (rows, columns), quantize);
        let mut whole = vec![f32::NAN; exact.len()];
        packed.unpack(0, &mut whole);
        assert!(error(&whole, &exact) < 0.12, "{quantize:?}");
        let panel = Tensor::zeros((3, columns), candle_core::DType::F32, &Device::Cpu).unwrap();
        packed.read_rows(30, &panel).unwrap();
        let got: Vec<f32> = panel.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(got, whole[30 * columns..33 * columns], "{quantize:?}");
        let ids = Tensor::new(&[36u32, 0, 5], &Device::Cpu).unwrap();
        let got: Vec<f32> = packed
            .gather(&ids)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let expected: Vec<f32> = [36, 0, 5]
            .iter()
            .flat_map(|row| whole[row * columns..(row + 1) * columns].to_vec())
            .collect();
        assert_eq!(got, expected, "{quantize:?}");
        assert!(
            packed
                .gather(&Tensor::new(&[37u32], &Device::Cpu).unwrap())
                .is_err()
        );
    }
}

#[test]
fn a_block_of_zeros_stays_zero() {
    for quantize in [Quantize::Q4k, Quantize::Q8_0] {
        let packed = pack(&[0.0; 512], (2, 256), quantize);
        let mut got = vec![f32::NAN; 512];
        packed.unpack(0, &mut got);
        assert!(got.iter().all(|x| *x == 0.0), "{quantize:?}");
    }
}

/// `tests/fixtures/nf4/make_nf4.py` made the values with bitsandbytes' own quantization.
#[test]
fn nf4_gives_the_numbers_of_bitsandbytes() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fixtures/nf4/nf4.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data();
        data.as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect()
    };
    let (exact, expected) = (floats("weight"), floats("dequantized"));
    let packed = pack(&exact, (exact.len() / 128, 128), Quantize::Nf4);
    let Blocks::Nf4(nf4) = &packed.blocks else {
        panic!("packed as {packed:?}")
    };
    assert_eq!(nf4.codes, file.tensor("codes").unwrap().data());
    let theirs = file.tensor("absmax").unwrap().data();
    let mut got = vec![f32::NAN; exact.len()];
    packed.unpack(0, &mut got);
    let mut other = 0;
    for (block, (got, expected)) in got.chunks(64).zip(expected.chunks(64)).enumerate() {
        if nf4.scales[block] == theirs[block] {
            for (got, expected) in got.iter().zip(expected) {
                let off = (got - expected).abs();
                assert!(off <= 1e-6 * expected.abs(), "{got}, {expected}");
            }
            continue;
        }
        // Its kernel looks near ties up in a coarse table, and takes the neighbour of the nearest step now and then.
        other += 1;
        let largest = |values: &[f32]| values.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = largest(&exact[block * 64..(block + 1) * 64]);
        let (ours, theirs) = (largest(got), largest(expected));
        assert!(
            (ours - scale).abs() <= (theirs - scale).abs(),
            "{ours}, {theirs}, {scale}"
        );
    }
    assert!(
        other <= theirs.len() / 50,
        "{other} scales of {}",
        theirs.len()
    );
}

/// `tests/fixtures/gguf/make_blocks.py` drew the bytes, and the gguf package unpacked them.
#[test]
fn blocks_of_every_kind_are_the_numbers_of_the_gguf_package() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fixtures/gguf/blocks.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for kind in [
        Kind::Q4_0,
        Kind::Q4_1,
        Kind::Q5_0,
        Kind::Q5_1,
        Kind::Q8_0,
        Kind::Q4K,
        Kind::Q5K,
        Kind::Q6K,
    ] {
        let blocks = file.tensor(kind.word()).unwrap();
        assert_eq!(blocks.shape()[1], kind.bytes(), "{kind:?}");
        let expected = file.tensor(&format!("{}.values", kind.word())).unwrap();
        let packed = Packed::of_blocks(
            "w".into(),
            (blocks.shape()[0], kind.block()),
            kind,
            blocks.data().to_vec(),
        );
        let mut got = vec![f32::NAN; blocks.shape()[0] * kind.block()];
        packed.unpack(0, &mut got);
        for (got, expected) in got.iter().zip(expected.data().as_chunks::<4>().0) {
            let expected = f32::from_le_bytes(*expected);
            // Both round once or twice, in an order of their own.
            let off = (got - expected).abs();
            assert!(
                off <= 1e-5 * expected.abs().max(1.0),
                "{kind:?}: {got}, {expected}"
            );
        }
    }
}
