#!/usr/bin/env python3
"""The whole engine on emulated GPUs, as users start it: emulated_engine.py MPIRUN LLM_TP SOURCES CASE

CASE  harbour   greedy ids of the reference on 1, 2 and 3 ranks, and the same logits to the bit for any ranks and chunks
      batch     a sequence is the same alone and among five, on any ranks
      golden    greedy ids of small models with uneven heads, biases and windows on 2 and 3 ranks
      quantised q8_0, q4_0 and f16 weights: the same logits to the bit on 1 and 2 ranks
      experts   mixtures of experts: greedy ids of the reference, and the same logits to the bit sliced and whole on any ranks
"""
import json
import pathlib
import subprocess
import sys
import tempfile

MPIRUN, ENGINE, SOURCES, CASE = sys.argv[1:]
HARBOUR = pathlib.Path(SOURCES) / "models/harbour"
failures = []


def run(ranks, *arguments):
    start = [MPIRUN, "--oversubscribe", "-np", str(ranks), ENGINE] if ranks > 1 else [ENGINE]
    command = start + [str(a) for a in arguments] + ["--device", "cuda", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=280, text=True)
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def expect_equal(what, got, wanted):
    print(("as wanted: " if got == wanted else "DIFFERENT: ") + what, flush=True)
    if got != wanted:
        failures.append(what)
        if isinstance(got, list):
            print("  got   ", got, "\n  wanted", wanted)


def greedy(ranks, model, prompt, tokens, *arguments):
    return run(ranks, "generate", "--model", model, "--prompt-tokens", ",".join(map(str, prompt)), "--max-tokens", tokens,
               "--temperature", "0", "--ignore-eos", *arguments)["choices"][0]["tokens"]


def logits(ranks, model, tokens, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.npy"
        run(ranks, "score", "--model", model, "--tokens", ",".join(map(str, tokens)), "--logits", out, *arguments)
        return out.read_bytes()


def harbour():
    case = json.loads((HARBOUR / "reference.json").read_text())["prompts"][0]
    for ranks in (1, 2, 3):
        expect_equal(f"harbour, {ranks} ranks: 16 greedy ids", greedy(ranks, HARBOUR / "hf", case["prompt_ids"], 16),
                     case["greedy"]["ids"][:16])
    text = case["prompt_ids"] + case["greedy"]["ids"][:20]
    alone = logits(1, HARBOUR / "hf", text)
    for ranks, chunk in ((1, 7), (2, 512), (3, 17)):
        expect_equal(f"harbour, {ranks} ranks, chunks of {chunk}: bits of the logits",
                     logits(ranks, HARBOUR / "hf", text, "--prefill-chunk", chunk), alone)


def batch():
    def choices(ranks, n):
        return run(ranks, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1,352,451", "--max-tokens", 6,
                   "--temperature", "0.9", "--top-p", "1", "--seed", "3", "--logprobs", "2", "--n", n)["choices"]
    five = choices(1, 5)
    expect_equal("one of five", choices(1, 1)[0], five[0])
    expect_equal("five on two ranks", choices(2, 5), five)


def golden():
    for name, ranks in (("heads_9_3", 2), ("heads_7_1", 3), ("llama_biases", 2), ("mistral_head_dim", 2), ("llama2_mha", 3)):
        folder = pathlib.Path(SOURCES) / "tests/golden/models" / name
        if not folder.exists():
            print(f"SKIPPED: {name} is not there")
            continue
        reference = json.loads((folder / "reference.json").read_text())
        for prompt, ids in zip(reference["prompts"][:2], reference["greedy"]):
            expect_equal(f"{name}, {ranks} ranks: greedy ids", greedy(ranks, folder, prompt, 8), ids[:8])


def experts():
    for name in ("qwen2_moe", "qwen3_moe"):
        folder = pathlib.Path(SOURCES) / "tests/golden/models" / name
        reference = json.loads((folder / "reference.json").read_text())
        prompt = reference["prompts"][1]
        expect_equal(f"{name}, 2 ranks: greedy ids", greedy(2, folder, prompt, 6, "--expert-parallel"),
                     reference["greedy"][1][:6])
        alone = logits(1, folder, prompt)
        for ranks, whole in ((2, []), (1, ["--expert-parallel"]), (3, ["--expert-parallel"])):
            expect_equal(f"{name}, {ranks} ranks {' '.join(whole)}: bits of the logits", logits(ranks, folder, prompt, *whole), alone)


def quantised():
    text = [1, 997, 362, 363, 956, 335, 961, 484, 15, 15, 20, 21, 22, 23, 24, 25, 26, 27, 28]
    for dtype in ("q8_0", "q4_0", "f16"):
        expect_equal(f"{dtype}, 2 ranks: bits of the logits", logits(2, HARBOUR / "hf", text, "--dtype", dtype),
                     logits(1, HARBOUR / "hf", text, "--dtype", dtype))


{"harbour": harbour, "batch": batch, "golden": golden, "quantised": quantised, "experts": experts}[CASE]()
sys.exit(1 if failures else 0)
