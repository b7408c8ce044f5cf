#!/usr/bin/env python3
"""Loads exported GGUF files in llama.cpp itself, and compares its logits and its choice of tokens with Transformers'.

usage: llama_cpp_agrees.py --codetune PROGRAM [--cases DIR] [CASE ...]
needs: pip install torch transformers peft llama-cpp-python   (its own llama.cpp, built for this machine)

Every case is a folder with `model` and `adapter_trained`, as tests/fixtures/goldens/make_goldens.py makes them; base and
adapter are merged into a GGUF in f32. llama.cpp keeps keys and values in f32 here and works on one thread. A case that
the export refuses is printed with the reason. Ends with 1 where a file does not load, a logit is off by more than 1e-4
of the largest (2e-3 where the model has GELU, which llama.cpp looks up in a table of f16), or a greedy choice differs.
"""
import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import llama_cpp
import numpy as np
import torch
import transformers
from peft import PeftModel

parser = argparse.ArgumentParser()
parser.add_argument("--codetune", required=True)
parser.add_argument("--cases", default=str(Path(__file__).parent.parent / "fixtures/goldens"))
parser.add_argument("case", nargs="*")
args = parser.parse_args()
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore")


@llama_cpp.llama_log_callback
def quiet(level, text, _):
    if level == 4:  # errors
        sys.stderr.write(text.decode())


llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


def of_llama_cpp(path, ids):
    """Logits [tokens, vocabulary]."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise RuntimeError("llama.cpp does not load it")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 64
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = 0  # f32
    context = llama_cpp.llama_init_from_model(model, settings)
    if not context:
        raise RuntimeError("llama.cpp makes no context of it")
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for at, token in enumerate(ids):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, at, 1, True
        batch.seq_id[at][0] = 0
    if llama_cpp.llama_decode(context, batch) != 0:
        raise RuntimeError("llama.cpp cannot compute it")
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    found = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=(len(ids), size)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return found


def of_transformers(case, ids):
    base = transformers.AutoModelForCausalLM.from_pretrained(
        case / "model", dtype=torch.float32, attn_implementation="eager").eval()
    model = PeftModel.from_pretrained(base, case / "adapter_trained").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


wrong = 0
cases = sorted(folder.parent for folder in Path(args.cases).glob("*/adapter_trained"))
for case in cases:
    if args.case and case.name not in args.case:
        continue
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        done = subprocess.run(
            [args.codetune, "export", "--model", str(case / "model"), "--adapter", str(case / "adapter_trained"),
             "--format", "gguf", "--dtype", "f32", "--output", str(path), "--json"], capture_output=True, text=True)
        if done.returncode:
            print(f"{case.name:20} refused: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        warned = [text for text in json.loads(done.stdout)["warnings"] if "no tokenizer.json" not in text]
        config = json.loads((case / "model/config.json").read_text())
        ids = [(i * 37 + 11) % config["vocab_size"] for i in range(60)]
        try:
            got = of_llama_cpp(path, ids)
        except RuntimeError as error:
            print(f"{case.name:20} FAILED: {error}", flush=True)
            wrong += 1
            continue
    expected = of_transformers(case, ids)
    got = got[:, :expected.shape[1]]
    off = float(np.abs(got - expected).max() / np.abs(expected).max())
    agree = float((got.argmax(1) == expected.argmax(1)).mean())
    activations = [config.get(key) for key in ("hidden_act", "hidden_activation", "activation_function")]
    most = 2e-3 if any("gelu" in (name or "") for name in activations) else 1e-4
    good = off <= most and agree == 1
    wrong += not good
    print(f"{case.name:20} {'ok' if good else 'WRONG'}  error {off:.1e}  same greedy tokens {agree:.0%}  {'; '.join(warned)}", flush=True)
sys.exit(1 if wrong else 0)
