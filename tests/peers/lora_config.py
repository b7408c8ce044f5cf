#!/usr/bin/env python3
"""Goes through the options of PEFT's LoraConfig: an adapter with each has PEFT's loss here, or is refused by the option's name.

usage: lora_config.py --codetune PROGRAM [WORD ...]
needs: pip install torch transformers peft

Each adapter is made by PEFT with random tensors over a tiny random model, measured by `codetune eval`, and merged by
`codetune export`, whose model Transformers then measures. With words, the cases whose names hold one of them.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers as tf
from peft import LoraConfig, get_peft_model

parser = argparse.ArgumentParser()
parser.add_argument("--codetune", required=True)
parser.add_argument("word", nargs="*")
args = parser.parse_args()
torch.set_num_threads(1)
tf.logging.set_verbosity_error()
tf.logging.disable_progress_bar()
warnings.simplefilter("ignore")

TINY = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=96, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
TIED = dict(tie_word_embeddings=True)
Q = dict(target_modules=["q_proj", "v_proj"])


def case(name, refused=None, model="llama", extra=None, save=None, resize=None, **lora):
    return dict(name=name, refused=refused, model=model, extra=extra or {}, save=save or {}, resize=resize, lora={**Q, **lora})


CASES = [
    case("rank_pattern by names", rank_pattern={"q_proj": 2, "v_proj": 6}),
    case("rank_pattern by path", rank_pattern={"model.layers.1.self_attn.q_proj": 2}),
    case("rank_pattern by regex", rank_pattern={r".*\.[02]\.self_attn\.(q|v)_proj": 3, "q_proj": 5}),
    case("rank_pattern anchored", rank_pattern={r"^model\.layers\.1\..*": 3}),
    case("rank_pattern part of a word", rank_pattern={"proj": 3, r"[qk]_proj": 2}),
    case("alpha_pattern by regex", alpha_pattern={r"layers\.1\.self_attn\.v_proj": 3, r".*q_proj": 40}),
    case("both patterns with rslora", rank_pattern={"q_proj": 2}, alpha_pattern={"1.self_attn.q_proj": 7}, use_rslora=True),
    case("exclude_modules list", target_modules="all-linear", exclude_modules=["q_proj", "layers.1.mlp.up_proj"]),
    case("exclude_modules regex", target_modules="all-linear", exclude_modules=r".*\.(0|2)\..*|.*mlp.*"),
    case("target_modules regex", target_modules=r".*layers\.[12].*(q_proj|down_proj)"),
    case("layers_to_transform", layers_to_transform=[0, 2]),
    case("layers_to_transform one", layers_to_transform=1),
    case("layers_to_transform and lm_head", target_modules=["q_proj", "lm_head"], layers_to_transform=[1]),
    case("layers_to_transform and a path", target_modules=["model.layers.0.self_attn.q_proj", "v_proj"], layers_to_transform=[2]),
    case("layers_pattern", layers_to_transform=[1], layers_pattern="layers"),
    case("layers_pattern list", layers_to_transform=[1], layers_pattern=["blocks", "layers"]),
    case("modules_to_save norm", modules_to_save=["norm"]),
    case("modules_to_save one norm", modules_to_save=["model.norm", "1.input_layernorm"]),
    case("modules_to_save mlp", modules_to_save=["2.mlp"]),
    case("modules_to_save layernorm with bias", model="starcoder2", modules_to_save=["norm", "c_fc"]),
    case("modules_to_save and bias all", model="starcoder2", modules_to_save=["norm", "c_fc"], bias="all"),
    case("modules_to_save tied, one", extra=TIED, modules_to_save=["lm_head"]),
    case("modules_to_save saved twice", extra=TIED, modules_to_save=["embed_tokens"], save=dict(save_embedding_layers=True)),
    case("ensure_weight_tying saved embedding", extra=TIED, modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    case("ensure_weight_tying saved head", extra=TIED, modules_to_save=["lm_head"], ensure_weight_tying=True),
    case("ensure_weight_tying saved both twice", extra=TIED, modules_to_save=["lm_head", "embed_tokens"], ensure_weight_tying=True,
         save=dict(save_embedding_layers=True), resize=101),
    case("ensure_weight_tying untied", modules_to_save=["lm_head"], ensure_weight_tying=True),
    case("ensure_weight_tying nothing", extra=TIED, ensure_weight_tying=True),
    case("ensure_weight_tying tokens", extra=TIED, trainable_token_indices=[3, 9], ensure_weight_tying=True),
    case("ensure_weight_tying adapters", "ensure_weight_tying", extra=TIED, target_modules=["embed_tokens"], ensure_weight_tying=True),
    case("use_dora embedding", target_modules=["embed_tokens", "q_proj"], use_dora=True),
    case("use_dora embedding tied", extra=TIED, target_modules=["embed_tokens", "lm_head"], use_dora=True),
    case("use_dora with patterns", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}, use_dora=True, use_rslora=True),
    case("embedding saved though frozen", save=dict(save_embedding_layers=True)),
    case("resized, saved", resize=103, save=dict(save_embedding_layers=True)),
    case("resized down, saved, tied", resize=90, extra=TIED, save=dict(save_embedding_layers=True)),
    case("resized, modules_to_save", resize=103, modules_to_save=["embed_tokens", "lm_head"]),
    case("resized, modules_to_save tied, saved", resize=103, extra=TIED, modules_to_save=["lm_head"], save=dict(save_embedding_layers=True)),
    case("resized, adapter of the embedding tied", resize=103, extra=TIED, target_modules=["embed_tokens", "q_proj"]),
    case("resized, adapters of both ends", resize=103, target_modules=["embed_tokens", "lm_head"], use_dora=True),
    case("resized, adapter of the head alone", "save_embedding_layers", resize=103, target_modules=["lm_head"]),
    case("resized, embedding alone", "save_embedding_layers", resize=103, modules_to_save=["embed_tokens"]),
    case("tokens resized tied saved", resize=103, extra=TIED, trainable_token_indices=[100, 7, 102], save=dict(save_embedding_layers=True)),
    case("tokens of both", trainable_token_indices={"embed_tokens": [4, 3], "lm_head": [3]}),
    case("tokens of both alike, tied", extra=TIED, trainable_token_indices={"embed_tokens": [4, 3], "lm_head": [4, 3]}),
    case("tokens of the head, tied", extra=TIED, trainable_token_indices={"lm_head": [4, 3]}),
    case("tokens resized, not saved", "trainable_token_indices", resize=103, trainable_token_indices=[100]),
    case("tokens and adapter of one", "trainable_token_indices", target_modules=["embed_tokens"], trainable_token_indices=[4]),
    case("bias all", extra=dict(attention_bias=True), bias="all"),
    case("bias lora_only", extra=dict(attention_bias=True, mlp_bias=True), bias="lora_only"),
    case("bias lora_only, dora", extra=dict(attention_bias=True), bias="lora_only", use_dora=True),
    case("bias all without one", bias="all"),
    case("bias all layernorm", model="starcoder2", bias="all"),
    case("bias all gpt", model="gpt_bigcode", target_modules=["c_attn", "c_proj"], bias="all"),
    case("lora_bias", extra=dict(attention_bias=True), lora_bias=True),
    case("lora_bias and bias", extra=dict(attention_bias=True), lora_bias=True, bias="all", use_rslora=True),
    case("fan_in_fan_out", fan_in_fan_out=True),
    case("fan_in_fan_out gpt", model="gpt_bigcode", target_modules=["c_attn", "c_fc"], fan_in_fan_out=True),
    case("pissa", init_lora_weights="pissa"),
    case("olora", init_lora_weights="olora"),
    case("olora with dora and patterns", init_lora_weights="olora", use_dora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}),
    case("orthogonal", init_lora_weights="orthogonal"),
    case("gaussian", init_lora_weights="gaussian"),
    case("mica", "init_lora_weights", init_lora_weights="mica"),
    case("layer_replication", "layer_replication", layer_replication=[(0, 2), (1, 3)]),
    case("alora_invocation_tokens", "alora_invocation_tokens", alora_invocation_tokens=[5, 6]),
    case("use_bdlora", "use_bdlora", use_bdlora=dict(target_modules_bd_a=["q_proj"], nblocks=2)),
    case("velora_config", "velora_config", velora_config={}),
    case("kasa_config", "kasa_config", kasa_config={}),
]
MODELS = dict(llama=(tf.LlamaConfig, tf.LlamaForCausalLM), starcoder2=(tf.Starcoder2Config, tf.Starcoder2ForCausalLM),
              gpt_bigcode=(tf.GPTBigCodeConfig, tf.GPTBigCodeForCausalLM))


def build(one):
    config, model = MODELS[one["model"]]
    tiny = dict(n_embd=32, n_layer=3, n_head=4, n_positions=64, n_inner=64, vocab_size=96) if one["model"] == "gpt_bigcode" else TINY
    torch.manual_seed(3)
    return model(config(**{**tiny, **one["extra"]})).float().eval()


def spread(model, without=()):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not any(word in name for word in without):
                p.add_(torch.randn_like(p) * (0.08 if p.ndim > 1 else 0.05))


def loss(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, labels=ids).loss.item()


def run(*command):
    return subprocess.run([args.codetune, *map(str, command)], capture_output=True, text=True)


def tried(one, scratch):
    """What PEFT finds, and what is found here: a loss, or the words of a refusal."""
    model = build(one)
    spread(model)
    model.save_pretrained(scratch / "model")
    if one["resize"]:
        model.resize_token_embeddings(one["resize"])
        with torch.no_grad():
            for end in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
                end[96:].normal_(0.0, 0.1)
    model = get_peft_model(model, LoraConfig(**{**dict(r=4, lora_alpha=16, task_type="CAUSAL_LM"), **one["lora"]})).eval()
    # Of adapters that split their base PEFT finds the rest again where it loads them; the base itself stays as it is.
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.08)
    model.save_pretrained(scratch / "adapter", **one["save"])
    ids = torch.randint(3, model.config.vocab_size, (1, 40))
    expected = loss(model, ids)
    row = dict(input_ids=ids[0].tolist(), labels=[-100] + ids[0].tolist()[1:])
    (scratch / "data.jsonl").write_text(json.dumps(row) + "\n")
    found = run("eval", "--model", scratch / "model", "--adapter", scratch / "adapter", "--data", scratch / "data.jsonl", "--format",
                "tokenized", "--json")
    if found.returncode:
        return expected, found.stderr.strip(), None
    merged = run("export", "--model", scratch / "model", "--adapter", scratch / "adapter", "--format", "safetensors", "--output",
                 scratch / "merged", "--json")
    if merged.returncode:
        return expected, json.loads(found.stdout)["loss"], merged.stderr.strip()
    whole = tf.AutoModelForCausalLM.from_pretrained(scratch / "merged", dtype=torch.float32).eval()
    return expected, json.loads(found.stdout)["loss"], loss(whole, ids)


wrong = []
for one in CASES:
    if args.word and not any(word in one["name"] for word in args.word):
        continue
    with tempfile.TemporaryDirectory() as scratch:
        try:
            expected, found, merged = tried(one, Path(scratch))
        except Exception as error:  # PEFT refuses it itself
            print(f"{one['name']:45s} PEFT: {type(error).__name__}: {str(error)[:110]}")
            continue
    if one["refused"]:
        right = isinstance(found, str) and one["refused"] in found
    else:
        near = lambda value: isinstance(value, float) and abs(value - expected) < 2e-5 * expected
        right = near(found) and near(merged)
    print(f"{one['name']:45s} {'ok' if right else 'WRONG'}  PEFT {expected:.6f}, here {found}, merged {merged}"[:260])
    if not right:
        wrong.append(one["name"])
print("wrong:", wrong if wrong else "none")
sys.exit(1 if wrong else 0)
