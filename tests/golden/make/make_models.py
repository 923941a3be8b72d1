"""Makes the cases of tests/golden/models that ../README.md marks as made here: python make_models.py OUT [CASE...]

Needs torch and transformers (made with torch 2.15 and transformers 4.57.6). The reference of every case is a forward pass in float64,
also where transformers asks for float32: see Exactly. Seeds are tried in order until no greedy step comes near a tie.
"""
import contextlib
import copy
import json
import pathlib
import sys

import numpy as np
import torch
import transformers

LENGTHS, STEPS, MARGIN, SPREAD = (1, 17, 70), 24, 0.02, 4.0
torch.set_num_threads(1)

CASES = {
    "gemma2": ("Gemma2", torch.bfloat16, dict(
        hidden_size=56, intermediate_size=92, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
        query_pre_attn_scalar=20, sliding_window=12, attn_logit_softcapping=4.0, final_logit_softcapping=9.0, vocab_size=259)),
    "gemma3": ("Gemma3", torch.bfloat16, dict(
        hidden_size=56, intermediate_size=92, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        query_pre_attn_scalar=24, sliding_window=12, sliding_window_pattern=3, rope_theta=1000000.0, rope_local_base_freq=500.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0}, vocab_size=262)),
    "olmo2": ("Olmo2", torch.bfloat16, dict(
        hidden_size=60, intermediate_size=108, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3, vocab_size=257)),
    "granite": ("Granite", torch.bfloat16, dict(
        hidden_size=48, intermediate_size=76, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=263,
        embedding_multiplier=3.0, residual_multiplier=0.6, attention_multiplier=0.15, logits_scaling=3.0, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3", torch.bfloat16, dict(
        hidden_size=48, intermediate_size=76, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, vocab_size=258,
        no_rope_layer_interval=2, rope_theta=5000.0)),
}


def build(case, seed):
    family, dtype, settings = CASES[case]
    config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else family + "Config")
    config = config_class(**settings, bos_token_id=1, eos_token_id=None, pad_token_id=0, attn_implementation="eager")
    torch.manual_seed(seed)
    model = getattr(transformers, family + "ForCausalLM")(config).eval()
    one = 0.0 if family.startswith("Gemma") else 1.0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(one, 0.15)
            elif "embed_tokens" in name:
                weight.normal_(0, 0.2 if family in ("Gemma2", "Gemma3", "Granite") else 1.0)
            else:
                weight.normal_(0, 1.3 / weight.shape[1] ** 0.5)
    return model, dtype


@contextlib.contextmanager
def exactly(model):
    """Everything in float64: what asks for float32 gets float64, and RoPE frequencies are computed anew."""
    float_, to, softmax = torch.Tensor.float, torch.Tensor.to, torch.nn.functional.softmax

    def to_wide(self, *args, **kwargs):
        wide = lambda x: torch.float64 if x is torch.float32 else x
        return to(self, *map(wide, args), **{k: wide(v) for k, v in kwargs.items()})

    torch.Tensor.float, torch.Tensor.to = torch.Tensor.double, to_wide
    torch.nn.functional.softmax = lambda x, dim, dtype=None, **_: softmax(x, dim=dim)
    model = model.double()
    for name, module in model.named_modules():
        if hasattr(module, "inv_freq"):
            config, local = model.config, name.endswith("rotary_emb_local")
            width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            theta = config.rope_local_base_freq if local else config.rope_theta
            module.inv_freq = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            if config.__dict__.get("rope_scaling") and not local:
                module.inv_freq /= config.rope_scaling["factor"]
        if hasattr(module, "embed_scale"):
            module.embed_scale = torch.tensor(model.config.hidden_size ** 0.5, dtype=torch.float64)
    try:
        yield model
    finally:
        torch.Tensor.float, torch.Tensor.to, torch.nn.functional.softmax = float_, to, softmax


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


@torch.no_grad()
def greedy_ids(model, prompts):
    """The ids after each prompt and the smallest distance of best to second on the way; ends early at a near tie."""
    greedy, margin = [], float("inf")
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(STEPS):
            best = logits_of(model, ids)[-1].topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            if margin < MARGIN:
                return greedy, margin
            ids.append(int(best.indices[0]))
        greedy.append(ids[len(prompt):])
    return greedy, margin


def set_spread(model, prompt):
    """Scales the final norm so that the logits spread as those of a real model do."""
    norm = model.model.norm
    added = 1.0 if "Gemma" in type(model).__name__ else 0.0
    with torch.no_grad():
        norm.weight.copy_((norm.weight + added) * (SPREAD / logits_of(model, prompt).std()) - added)


def make(case, out):
    for seed in range(1000):
        model, dtype = build(case, seed)
        picks = np.random.default_rng(seed)
        prompts = [picks.integers(3, model.config.vocab_size, n).tolist() for n in LENGTHS]
        set_spread(model, prompts[-1])
        folder = out / case
        copy.deepcopy(model).to(dtype).save_pretrained(folder, safe_serialization=True)
        config = json.loads((folder / "config.json").read_text())
        config["torch_dtype"] = config.pop("dtype", str(dtype).removeprefix("torch."))
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        for weight in model.parameters():  # the stored values; buffers such as RoPE frequencies are not stored
            weight.data = weight.data.to(dtype).float()
        single = [logits_of(model, p).double() for p in prompts]
        with exactly(model) as wide:
            exact = [logits_of(wide, p) for p in prompts]
            greedy, margin = greedy_ids(wide, prompts)
        if margin < MARGIN:
            continue
        reference = dict(case=case, prompts=prompts, greedy=greedy, greedy_min_margin=margin,
                         max_abs_diff_hf_float32=[float((a - b).abs().max()) for a, b in zip(single, exact)],
                         logits_std=float(exact[-1].std()), stored_dtype=str(dtype).removeprefix("torch."), seed=seed,
                         transformers=transformers.__version__)
        (folder / "reference.json").write_text(json.dumps(reference) + "\n")
        np.savez(folder / "reference.npz", **{f"logits_{i}": e.numpy().astype(np.float32) for i, e in enumerate(exact)})
        return print(f"{case}: seed {seed}, margin {margin:.3f}, std {reference['logits_std']:.2f}, float32 differs by "
                     f"{max(reference['max_abs_diff_hf_float32']):.1e}", flush=True)
    raise SystemExit(f"{case}: no seed without near ties")


if __name__ == "__main__":
    for name in sys.argv[2:] or CASES:
        make(name, pathlib.Path(sys.argv[1]))
