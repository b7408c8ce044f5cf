#!/usr/bin/env python3
"""The peer of `codetune bench train`: the same work in PyTorch + Transformers + PEFT.

usage: peft_train.py --model DIR [--batch-size B] [--seq-len S] [--steps N] [--dtype f32|bf16] [--lora-r R] [--threads T]
                     [--device cpu|cuda:N] [--quantize nf4] [--liger] [--gradient-checkpointing]
needs: pip install torch transformers peft; liger-kernel for --liger, bitsandbytes for --quantize

Random tokens, all supervised, LoRA on every linear layer but the head, forward + backward + AdamW; the first step is not
counted and the median step is. A folder with a config.json and no weights gets random ones. Attention is PyTorch's SDPA.
Prints one JSON object with the keys of `codetune bench train --json`.
"""
import argparse
import json
import pathlib
import resource
import statistics
import time

import torch
import transformers
from peft import LoraConfig, get_peft_model

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--seq-len", type=int, default=512)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
parser.add_argument("--lora-r", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu")
parser.add_argument("--quantize", choices=["nf4"])
parser.add_argument("--liger", action="store_true")
parser.add_argument("--gradient-checkpointing", action="store_true")
args = parser.parse_args()


def packed(model):
    """Puts bitsandbytes' 4-bit layers in the place of all linear ones but the head, as from_pretrained does while it reads."""
    import bitsandbytes

    for name, layer in list(model.named_modules()):
        if not isinstance(layer, torch.nn.Linear) or name == "lm_head":
            continue
        fresh = bitsandbytes.nn.Linear4bit(layer.in_features, layer.out_features, bias=layer.bias is not None,
                                           compute_dtype=dtype, quant_type="nf4")
        fresh.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        fresh.bias = layer.bias
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, fresh.to(args.device))
    # PEFT asks this before it wraps such layers.
    model.is_loaded_in_4bit = True
    return model


torch.set_num_threads(args.threads)
torch.manual_seed(0)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
settings = transformers.AutoConfig.from_pretrained(args.model)
if args.liger:
    import liger_kernel.transformers

    getattr(liger_kernel.transformers, f"apply_liger_kernel_to_{settings.model_type}")()
if list(pathlib.Path(args.model).glob("*.safetensors")):
    base = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa")
else:
    base = transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype, attn_implementation="sdpa")
if args.quantize:
    base = packed(base)
base.to(args.device)
model = get_peft_model(base, LoraConfig(r=args.lora_r, lora_alpha=2 * args.lora_r, target_modules="all-linear", task_type="CAUSAL_LM"))
if args.gradient_checkpointing:
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)

seconds = []
for step in range(args.steps + 1):
    ids = torch.randint(0, model.config.vocab_size, (args.batch_size, args.seq_len), device=args.device)
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    float(loss)
    if step > 0:
        seconds.append(time.perf_counter() - start)

median = statistics.median(seconds)
on_gpu = args.device.startswith("cuda")
print(json.dumps({
    "tokens_per_second": args.batch_size * args.seq_len / median,
    "seconds_per_step": median,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "peak_device_bytes": torch.cuda.max_memory_allocated(args.device) if on_gpu else None,
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "peft": __import__("peft").__version__,
}))
