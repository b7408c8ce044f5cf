#!/usr/bin/env python3
"""Checks that other programs read what `codetune export` writes, and compute from it what base and adapter do.

usage: exports_load.py --codetune PROGRAM [--cases DIR] [CASE ...]
needs: pip install torch transformers peft gguf safetensors

Every case is a folder with `model` and `adapter_trained`, as tests/fixtures/goldens/make_goldens.py makes them. The
reference is Transformers + PEFT on base and adapter.
  peft          Python PEFT loads the folder, and warns of nothing       logits equal to 1e-4
  safetensors   Transformers loads the folder, whole and in shards       logits equal to 1e-4
  gguf          the gguf package reads every name and value; Transformers loads the file where it knows the family
  gguf-lora     the gguf package reads A and B: scaled and turned back they are the adapter's update
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from peft import PeftModel
from safetensors import safe_open

parser = argparse.ArgumentParser()
parser.add_argument("--codetune", required=True)
parser.add_argument("--cases", default=str(Path(__file__).parent.parent / "fixtures/goldens"))
parser.add_argument("--tokenizer-model", default=str(Path(__file__).parent.parent.parent / "host/sample/model"))
parser.add_argument("case", nargs="*")
args = parser.parse_args()
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore", category=FutureWarning)

# What GGUF calls a family, and which of them hold rows of queries and keys for a rotary embedding of neighbours.
ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3", "gpt_bigcode": "starcoder"}
PAIRED = {"llama", "granite", "smollm3"}


def export(model, adapter, form, output, *more):
    command = [args.codetune, "export", "--model", str(model), "--adapter", str(adapter), "--format", form,
               "--output", str(output), "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    report = json.loads(done.stdout)
    assert report["verification"]["relative_error"] <= report["verification"]["tolerance"], report
    return report


def base_of(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def logits(model):
    with torch.no_grad():
        ids = [(i * 37 + 11) % model.config.vocab_size for i in range(60)]
        return model(torch.tensor([ids])).logits


def same(what, got, expected, tolerance):
    difference = (got - expected).abs().max().item()
    print(f"  {what}: largest difference {difference:.1e}")
    assert difference <= tolerance, what


def check_peft(folder, model, adapter, expected):
    export(model, adapter, "peft", folder)
    with warnings.catch_warnings():
        # PEFT's own words about a config or its tensors; what it calls of Transformers' is its affair.
        warnings.simplefilter("error", category=UserWarning)
        loaded = PeftModel.from_pretrained(base_of(model), folder).eval()
    same("peft", logits(loaded), expected, 1e-4)
    written, known = json.loads((folder / "adapter_config.json").read_text()), loaded.peft_config["default"].to_dict()
    extra = set(written) - set(known)
    assert not extra, f"PEFT does not know {extra}"


def check_safetensors(folder, model, adapter, expected):
    export(model, adapter, "safetensors", folder / "whole")
    same("safetensors", logits(base_of(folder / "whole")), expected, 1e-4)
    export(model, adapter, "safetensors", folder / "parts", "--max-shard-size", "50KB")
    assert (folder / "parts/model.safetensors.index.json").is_file()
    same("safetensors in shards", logits(base_of(folder / "parts")), expected, 1e-4)
    return folder / "whole"


def turned_back(rows, heads):
    """Rows in pairs as halves again: llama.cpp's `permute`, undone."""
    shape = rows.shape
    return rows.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def hugging_face(tensors, architecture, config):
    """The values of GGUF tensors as Hugging Face lays them out."""
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    for name, values in tensors.items():
        if name.endswith(".lora_a"):
            # Its rows are ranks.
            yield name, values
            continue
        if architecture in PAIRED and ".attn_q." in name:
            values = turned_back(values, heads)
        if architecture in PAIRED and ".attn_k." in name:
            values = turned_back(values, kv_heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values - 1
        yield name, values


def read(path):
    reader = gguf.GGUFReader(path)
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        tensors[tensor.name] = values.reshape([int(n) for n in reversed(tensor.shape)])
    return reader, tensors


def check_tables(reader, tensors, architecture, arch, layers):
    """Names of tensors and keys against the gguf package's tables of what llama.cpp reads."""
    known = {gguf.TENSOR_NAMES[kind].format(bid=layer) for kind in gguf.MODEL_TENSORS[arch] for layer in range(layers)}
    strange = {name for name in tensors if name.rpartition(".")[0] not in known}
    assert not strange, f"llama.cpp's {architecture} has no tensors {strange}"
    keys = {value.replace("{arch}", architecture) for group in vars(gguf.Keys).values() if isinstance(group, type)
            for value in vars(group).values() if isinstance(value, str)}
    strange = {name for name in reader.fields if not name.startswith("GGUF.")} - keys
    assert not strange, f"llama.cpp has no keys {strange}"


def check_gguf(folder, merged, model, adapter, expected, config):
    model_type = config["model_type"]
    architecture = ARCHITECTURES.get(model_type, model_type)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    want = {}
    for file in sorted(merged.glob("*.safetensors")):
        with safe_open(file, "np") as shard:
            for name in shard.keys():
                # The package's own table says what each tensor is called.
                own = names.get_name(name, try_suffixes=(".weight", ".bias"))
                assert own, f"the gguf package has no name for {name}"
                want[own] = shard.get_tensor(name)
    for dtype, tolerance in [("f32", 0), ("f16", 1e-3), ("bf16", 8e-3), ("q8_0", 2e-2), ("q4_k", 2e-1)]:
        path = folder / f"{dtype}.gguf"
        export(model, adapter, "gguf", path, "--dtype", dtype)
        reader, tensors = read(path)
        assert reader.fields["general.architecture"].contents() == architecture
        check_tables(reader, tensors, architecture, arch, config["num_hidden_layers"])
        got = dict(hugging_face(tensors, architecture, config))
        small = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
        assert set(got) - small == set(want), set(got) ^ set(want)
        worst = 0
        for name, values in want.items():
            worst = max(worst, float(np.abs(got[name] - values).max() / np.abs(values).max()))
        print(f"  gguf {dtype}: {len(want)} tensors, largest difference {worst:.1e} of a tensor's largest value")
        assert worst <= max(tolerance, 1e-6), name
    fields = gguf.GGUFReader(folder / "f32.gguf").fields
    for key, value in [("block_count", config["num_hidden_layers"]), ("embedding_length", config["hidden_size"]),
                       ("attention.head_count", config["num_attention_heads"])]:
        assert fields[f"{architecture}.{key}"].contents() == value, key
    try:
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file="f32.gguf", dtype=torch.float32, attn_implementation="eager").eval()
    except (ValueError, NotImplementedError, KeyError, RuntimeError, AssertionError) as error:
        print(f"  gguf in Transformers: not read ({str(error).splitlines()[0][:120]})")
        return
    if f"{architecture}.rope.scaling.type" in fields:
        # llama_cpp_agrees.py compares these.
        print("  gguf in Transformers: rotary scaling is not read there, logits not compared")
        return
    if "rope_freqs.weight" in {tensor.name for tensor in gguf.GGUFReader(folder / "f32.gguf").tensors}:
        # Transformers passes over the factors of a Llama 3 rotary embedding in a GGUF.
        print("  gguf in Transformers: rotary factors are not read there, logits not compared")
        return
    if scalar := config.get("query_pre_attn_scalar"):
        # A GGUF does not hold it (llama.cpp scales by the head's width), and Transformers takes the default of one size.
        for layer in loaded.model.layers:
            layer.self_attn.scaling = scalar ** -0.5
    same("gguf in Transformers", logits(loaded), expected, 1e-4)


def check_lora(path, model, adapter, config):
    export(model, adapter, "gguf-lora", path)
    reader, tensors = read(path)
    fields = reader.fields
    assert fields["general.type"].contents() == "adapter" and fields["adapter.type"].contents() == "lora"
    alpha = fields["adapter.lora.alpha"].contents()
    model_type = config["model_type"]
    architecture = ARCHITECTURES.get(model_type, model_type)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    got = dict(hugging_face({name: values for name, values in tensors.items()}, architecture, config))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    scale = settings["lora_alpha"] / (math.sqrt(settings["r"]) if settings.get("use_rslora") else settings["r"])
    worst, count = 0, 0
    with safe_open(adapter / "adapter_model.safetensors", "np") as file:
        for name in file.keys():
            if not name.endswith("lora_A.weight"):
                continue
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            own = names.get_name(module + ".weight", try_suffixes=(".weight",))
            a, b = tensors[own + ".lora_a"], got[own + ".lora_b"]
            update = alpha / a.shape[0] * b @ a
            want = scale * file.get_tensor(name.replace("lora_A", "lora_B")) @ file.get_tensor(name)
            worst = max(worst, float(np.abs(update - want).max()))
            count += 2
    assert count == len(tensors)
    print(f"  gguf-lora: {count} tensors, largest difference of an update {worst:.1e}")
    assert worst < 1e-5


cases = args.case or sorted(path.name for path in Path(args.cases).iterdir() if (path / "golden.safetensors").is_file())
for case in cases:
    print(case)
    folder = Path(args.cases) / case
    model, adapter = folder / "model", folder / "adapter_trained"
    config = json.loads((model / "config.json").read_text())
    # GPT's names of a time before the others.
    for old, new in [("n_layer", "num_hidden_layers"), ("n_embd", "hidden_size"), ("n_head", "num_attention_heads")]:
        if old in config:
            config[new] = config[old]
    expected = logits(PeftModel.from_pretrained(base_of(model), adapter).eval())
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        check_peft(scratch / "peft", model, adapter, expected)
        merged = check_safetensors(scratch, model, adapter, expected)
        check_gguf(scratch, merged, model, adapter, expected, config)
        if json.loads((adapter / "adapter_config.json").read_text()).get("use_dora"):
            print("  gguf-lora: has no place for DoRA")
        else:
            check_lora(scratch / "lora.gguf", model, adapter, config)

# The vocabulary: ids of the same texts, read from the GGUF and from the folder that it was made of.
with tempfile.TemporaryDirectory() as scratch:
    command = [args.codetune, "export", "--model", args.tokenizer_model, "--format", "gguf", "--output", f"{scratch}/m.gguf"]
    subprocess.run(command, check=True, capture_output=True)
    own = transformers.AutoTokenizer.from_pretrained(args.tokenizer_model)
    theirs = transformers.AutoTokenizer.from_pretrained(scratch, gguf_file="m.gguf")
    for text in ["def add(a, b):\n    return a + b\n", "x = 12345\n\n\tif x:  # h\u00e9llo \U0001f980<|endoftext|>",
                 "it's we'll 3.14   spaces "]:
        assert own(text).input_ids == theirs(text).input_ids, text
    print("vocabulary: the same ids")
print("ok")
sys.exit(0)
