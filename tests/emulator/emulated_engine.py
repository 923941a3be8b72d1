#!/usr/bin/env python3
"""The whole engine on emulated GPUs, as users start it: emulated_engine.py MPIRUN LLM_TP SOURCES CASE

CASE  harbour   greedy ids of the reference on 1, 2 and 3 ranks, and the same logits to the bit for any ranks and chunks
      batch     a sequence is the same alone and among five, on any ranks
      golden    greedy ids of small models with uneven heads, biases and windows on 2 and 3 ranks
      quantised weights of many formats: greedy ids of the reference, the same logits to the bit on any ranks
      sums      by NCCL and by way of the host: the same logits to the bit; NCCL's own sums: the same greedy ids
      products  numerics fast by cuBLASLt: near the invariant logits, the same bits in every run; refusals
      one       --only-rank on one GPU: the logits of the group to the bit; bench of one rank
      refusals  hosts without driver, with an old one, with too few GPUs or too little memory: code and message
      lost      a rank that is killed, one that hangs, an error of NCCL, a start of NCCL that fails: the group ends in seconds with a cause
      graphs    steps replayed from graphs on 1 and 3 ranks: tokens and logits to the bit as without
      faults    a kernel that fails: the message names rank, host, device, kernels and step
      experts   mixtures of experts: greedy ids of the reference, and the same logits to the bit sliced and whole on any ranks
"""
import array
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time

MPIRUN, ENGINE, SOURCES, CASE = sys.argv[1:]
HARBOUR = pathlib.Path(SOURCES) / "models/harbour"
failures = []


def run(ranks, *arguments):
    start = [MPIRUN, "--oversubscribe", "-np", str(ranks), ENGINE] if ranks > 1 else [ENGINE]
    command = start + [str(a) for a in arguments] + ["--device", "cuda", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=280, text=True)
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr}")
    for bug in ("takes memory after warm-up", "the memory plan is wrong"):
        if bug in done.stderr:
            failures.append(done.stderr)
            print(f"DIFFERENT: {' '.join(command)}: {done.stderr}")
    # What the emulated driver counts is what we count: it takes nothing for itself.
    if arguments[0] == "generate" and done.stderr.count("; the driver took 0 B for itself") != 1:
        failures.append("no account of memory")
        print(f"DIFFERENT: {' '.join(command)}: nothing was said of memory\n{done.stderr}")
    return json.loads(done.stdout)


def expect_equal(what, got, wanted):
    print(("as wanted: " if got == wanted else "DIFFERENT: ") + what, flush=True)
    if got != wanted:
        failures.append(what)
        if not isinstance(got, bytes):
            print("  got   ", got, "\n  wanted", wanted)


def greedy(ranks, model, prompt, tokens, *arguments):
    return run(ranks, "generate", "--model", model, "--prompt-tokens", ",".join(map(str, prompt)), "--max-tokens", tokens,
               "--temperature", "0", "--ignore-eos", *arguments)["choices"][0]["tokens"]


def logits(ranks, model, tokens, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.npy"
        run(ranks, "score", "--model", model, "--tokens", ",".join(map(str, tokens)), "--logits", out, *arguments)
        return out.read_bytes()


def ends(what, command, code, *texts, **environment):
    """The command is refused with this code, in one line that holds the texts."""
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=120, text=True,
                          env={**os.environ, **environment})
    errors = [line for line in done.stderr.splitlines() if line.startswith("llm-tp: error: ")]
    good = done.returncode == code and len(errors) == 1 and all(text in errors[0] for text in texts)
    expect_equal(what, "as it should" if good else f"exit code {done.returncode}\n{done.stderr}", "as it should")
    return done.stderr


def is_loaded(command, **environment):
    """Whether the command's models find room: it is ended then."""
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                          env={**os.environ, **environment}) as process:
        loaded = any(": planned " in line for line in process.stderr)
        process.kill()
        return loaded


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
    def choices(ranks, n, *sampling):
        return run(ranks, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1,352,451", "--max-tokens", 6,
                   "--temperature", "0.9", "--seed", "3", "--logprobs", "2", "--n", n, *sampling)["choices"]
    free = ("--top-p", "1")
    five = choices(1, 5, *free)
    expect_equal("one of five", choices(1, 1, *free)[0], five[0])
    expect_equal("five on two ranks", choices(2, 5, *free), five)
    limited = ("--top-p", "0.95", "--repetition-penalty", "1.3", "--frequency-penalty", "0.5", "--logit-bias", "5:1.5,7:-100", "--regex", "[a-z]+")
    expect_equal("limited ones on three ranks", choices(3, 2, *limited), choices(1, 2, *limited))


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


def sums():
    text = [1, 997, 362, 363, 956, 335, 961, 484, 15, 15, 20, 21, 22]
    by_host = logits(1, HARBOUR / "hf", text, "--gpu-communication", "host")
    for ranks in (1, 2, 3, 4):
        expect_equal(f"{ranks} ranks by NCCL: bits of the logits",
                     logits(ranks, HARBOUR / "hf", text, *(["--gpu-communication", "nccl"] if ranks > 1 else [])), by_host)
    for ranks in (2, 3, 4):
        expect_equal(f"{ranks} ranks by CUDA IPC: bits of the logits", logits(ranks, HARBOUR / "hf", text, "--gpu-communication", "ipc"), by_host)
    case = json.loads((HARBOUR / "reference.json").read_text())["prompts"][0]
    for ranks in (1, 3):
        expect_equal(f"{ranks} ranks, numerics fast: 8 greedy ids",
                     greedy(ranks, HARBOUR / "hf", case["prompt_ids"], 8, "--numerics", "fast"), case["greedy"]["ids"][:8])


def products():
    model = pathlib.Path(SOURCES) / "tests/golden/models/llama2_mha"  # small: an emulated token of harbour takes long
    text = [1 + i * 37 % 200 for i in range(264)]  # more tokens than our own products keep

    def of(ranks, *arguments):
        return logits(ranks, model, text, "--numerics", "fast", *arguments)

    invariant, by_library, own = logits(1, model, text), of(1, "--gpu-products", "cublaslt"), of(1, "--gpu-products", "own")
    expect_equal("auto takes cuBLASLt, which has the same bits in every run", of(1), by_library)
    expect_equal("cuBLASLt sums in an order of its own", by_library != own, True)
    header = len(invariant) - len(text) * 320 * 4
    for ranks, made in ((1, by_library), (3, of(3, "--gpu-products", "cublaslt"))):
        numbers = [array.array("f", bits[header:]) for bits in (made, invariant)]
        # Rounding to bf16 moves a number by 0.4% at most; the spread of these logits is 4, and 0.31 was seen.
        expect_equal(f"{ranks} ranks by cuBLASLt: logits within 0.8 of the invariant ones",
                     max(abs(a - b) for a, b in zip(*numbers)) < 0.8, True)
    generate = [ENGINE, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1", "--device", "cuda", "--gpu-products", "cublaslt"]
    ends("cuBLASLt with invariant numerics", generate, 78, "gpu_products cublaslt needs numerics fast")
    ends("cuBLASLt that is missing", generate + ["--numerics", "fast"], 69, "gpu_products cublaslt: ", "not found", EMULATED_CUBLASLT="missing")

    def doctor_of_cublaslt(*arguments, **environment):
        done = subprocess.run([ENGINE, "doctor", "--device", "cuda", "--json", *arguments], capture_output=True, timeout=60, text=True,
                              env={**os.environ, **environment})
        check = next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "cublaslt")
        return done.returncode, check["status"], check["detail"], check["fix"]

    version = json.loads(subprocess.run([ENGINE, "version", "--json"], capture_output=True, text=True).stdout)["libraries"]["cublaslt"]
    many, fast = "products of more than 256 tokens", ("--numerics", "fast")
    expect_equal("doctor: cuBLASLt would be used", doctor_of_cublaslt(), (0, "ok", f"{version}, with --numerics fast for {many}, not used now", ""))
    expect_equal("doctor: cuBLASLt is used", doctor_of_cublaslt(*fast), (0, "ok", f"{version}, for {many}", ""))
    expect_equal("doctor: cuBLASLt is not wanted", doctor_of_cublaslt(*fast, "--gpu-products", "own"),
                 (0, "ok", f"{version}, not used, as gpu_products asks for", ""))
    os.environ["EMULATED_CUBLASLT"] = "missing"
    missing = f"rank 0: the emulated cuBLASLt was not found (for {many})"
    expect_equal("doctor: cuBLASLt is missing", doctor_of_cublaslt(*fast),
                 (0, "warning", f"{missing}: {many} are our own, which are slower", "install it, or say --gpu-products own"))
    expect_equal("doctor: cuBLASLt is missing and asked for", doctor_of_cublaslt(*fast, "--gpu-products", "cublaslt"),
                 (69, "error", missing, "install it, or say --gpu-products auto"))
    expect_equal("doctor: cuBLASLt is missing and of no use", doctor_of_cublaslt()[:2], (0, "ok"))
    expect_equal("auto without cuBLASLt", of(1), own)


def one():
    text = [1, 997, 362, 363, 956]
    expect_equal("rank 1 of 3 on one GPU: bits of the logits", logits(1, HARBOUR / "hf", text, "--only-rank", 1, "--of", 3),
                 logits(1, HARBOUR / "hf", text))
    bench = run(1, "bench", "--model", HARBOUR / "hf", "--prompt-tokens", 4, "--decode-tokens", 2, "--repetitions", 1,
                "--only-rank", 2, "--of", 3)
    expect_equal("bench of rank 2 of 3", (bench["only_rank"], bench["ranks"], "left out" in bench["sums"]), (2, 3, True))


def refusals():
    generate = [ENGINE, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1", "--device", "cuda"]
    two = [MPIRUN, "--oversubscribe", "-np", "2"] + generate
    ends("no driver", generate, 69, "no NVIDIA driver was found", "--device cpu", EMULATED_DRIVER="0")
    ends("an old driver", generate, 69, "runs CUDA up to 12.4", "newer driver", EMULATED_DRIVER="12040")
    ends("a driver without a GPU", two, 69, "no GPU can be seen", EMULATED_GPUS="0")
    ends("one GPU for two ranks", two, 69, "has 1 GPU for 2 ranks", "ranks 0 and 1 would share", "at most one rank a GPU",
         EMULATED_GPUS="1")
    # What is advised fits, and twice as much does not.
    for what, tokens, number, texts, host in (
            ("too little memory", 400, 200, ("of the 80000 positions that are wanted",), {"EMULATED_GPU_MIB": "64"}),
            ("memory that another process holds", 40, 40,
             ("rank 0 on ", "out of memory", "where it had said 64.00 MiB", "positions for 40 sequences about"),
             {"EMULATED_GPU_MIB": "64", "EMULATED_LOST_MIB": "52"})):
        sized = generate + ["--max-tokens", str(tokens), "--n"]
        said = ends(what, sized + [str(number)], 71, *texts, " fit, as ", ": lower --max-tokens, --max-context", **host)
        fitting = int(re.search(r" or as (\d+) of |$", said)[1] or 0)
        for several in (fitting, 2 * fitting):
            expect_equal(f"{what}: {several} sequences", is_loaded(sized + [str(several)], **host), several == fitting)
    serve = [ENGINE, "serve", "--port", "0", "--model", HARBOUR / "hf", "--device", "cuda", "--kv-dtype", "f32"]
    said = ends("a context that is too long to serve", serve, 71, "positions that are wanted", " fit: lower --max-context to ", EMULATED_GPU_MIB="16")
    fitting = int(re.search(r"--max-context to (\d+)|$", said)[1] or 0)
    for context in (fitting, fitting + 1):
        expect_equal(f"serving a context of {context}", is_loaded(serve + ["--max-context", context], EMULATED_GPU_MIB="16"), context == fitting)
    ends("memory that not even the weights have", generate, 71, "rank 0 needs", EMULATED_GPU_MIB="1")
    doctor = subprocess.run([MPIRUN, "--oversubscribe", "-np", "2", ENGINE, "doctor", "--device", "cuda", "--json"],
                            capture_output=True, timeout=60, text=True, env={**os.environ, "EMULATED_GPUS": "1"})
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    expect_equal("doctor with one GPU for two ranks", (doctor.returncode, checks["gpus"]["status"], checks["gpu communication"]["status"]),
                 (69, "error", "ok"))
    expect_equal("doctor says of graphs", "replayed" in checks["gpu graphs"]["detail"], True)
    if "nccl windows" in checks:  # built with NCCL
        expect_equal("doctor says of windows", "symmetric windows" in checks["nccl windows"]["detail"], True)
    expect_equal("doctor says how GPUs add", "by CUDA IPC" in checks["gpu communication"]["detail"] and "NCCL" in checks["gpu communication"]["detail"], True)
    ends("GPUs that cannot share memory", two + ["--gpu-communication", "ipc"], 69, "gpu_communication ipc: rank 0: ", "cudaIpcGetMemHandle",
         EMULATED_IPC="0")
    by_others = subprocess.run([str(word) for word in two + ["--max-tokens", "2"]], capture_output=True, timeout=60, text=True,
                               env={**os.environ, "EMULATED_IPC": "0"})
    expect_equal("auto where GPUs cannot share memory", by_others.returncode, 0)


def graphs():
    text = [1, 997, 362, 363, 956]
    several = ["generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1,352,451", "--max-tokens", 8, "--temperature", "0.9",
               "--top-p", "1", "--seed", "3", "--logprobs", "2", "--n", 3, "--ignore-eos"]
    expected = run(1, *several, "--gpu-graphs", "off")["choices"]
    in_ones = logits(1, HARBOUR / "hf", text, "--gpu-graphs", "off")
    for ranks in (1, 3):
        arguments = [str(a) for a in (*several, "--device", "cuda", "--gpu-graphs", "on", "--log-level", "debug", "--json")]
        done = subprocess.run(([MPIRUN, "--oversubscribe", "-np", str(ranks)] if ranks > 1 else []) + [ENGINE, *arguments],
                              capture_output=True, timeout=120, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        expect_equal(f"{ranks} ranks with graphs: three choices", json.loads(done.stdout)["choices"], expected)
        found = re.search(r"(\d+) were recorded, (\d+) replayed", done.stderr)
        expect_equal(f"{ranks} ranks: {found and found[0]}", found is not None and int(found[2]) >= 6, True)
        expect_equal(f"{ranks} ranks with graphs, a token a step: bits of the logits",
                     logits(ranks, HARBOUR / "hf", text, "--prefill-chunk", 1, "--gpu-graphs", "on"), in_ones)
    mixture = ["generate", "--model", pathlib.Path(SOURCES) / "tests/golden/models/qwen2_moe", "--prompt-tokens", "1,5,9", "--max-tokens", 8, "--temperature",
               "0", "--ignore-eos"]
    expected = run(1, *mixture, "--gpu-graphs", "off")["choices"]
    for ranks in (1, 3):
        expect_equal(f"a mixture of experts with graphs on {ranks} ranks", run(ranks, *mixture, "--gpu-graphs", "on")["choices"], expected)
    ends("graphs with whole experts on two ranks", [MPIRUN, "--oversubscribe", "-np", "2", ENGINE, *mixture, "--device", "cuda", "--gpu-graphs", "on",
                                                    "--expert-parallel"], 78, "gpu_graphs on", "rows of whole experts")
    ends("graphs with sums by way of the host", [ENGINE, *several, "--device", "cuda", "--gpu-graphs", "on", "--gpu-communication", "host"],
         78, "gpu_graphs on", "sums go by way of the host")


def faults():
    host = platform.node()
    generate = [ENGINE, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1,352", "--max-tokens", "4", "--ignore-eos",
                "--device", "cuda"]
    layers = json.loads((HARBOUR / "hf/config.json").read_text())["num_hidden_layers"]
    in_step_2 = f"attend_kernel,{3 * layers + 1}"  # one of warm-up, 0 and 1
    on_rank_1 = [MPIRUN, "--oversubscribe", "-np", "1", *generate, ":", "-np", "1", "env", f"EMULATED_FAULT={in_step_2}", *generate]
    texts = ("an illegal memory access", "kernels on their way, embed_kernel to ")
    ends("a kernel that fails", generate, 69, f"rank 0 on {host}: step 2: CUDA, device 0 (emulated GPU): ", *texts, EMULATED_FAULT=in_step_2)
    ends("a kernel of rank 1 that fails", on_rank_1, 69, f"rank 1 on {host}: step 2: CUDA, device 1 (emulated GPU): ", *texts)
    ends("a kernel of a recorded step that fails", generate + ["--max-tokens", "12", "--gpu-graphs", "on"], 69,
         f"rank 0 on {host}: step 5: CUDA, device 0 (emulated GPU): ", *texts, "or from a recorded step among them; --gpu-graphs off",
         EMULATED_FAULT=f"attend_kernel,{6 * layers + 1}")
    ends("a launch that is refused", generate, 69, f"rank 0 on {host}: warm-up: CUDA, device 0 (emulated GPU): attend_kernel: ",
         EMULATED_FAULT="attend_kernel,0")


def process_of(rank, launcher):
    process = find_process(rank, launcher)
    if process is None:
        raise SystemExit(f"no process of rank {rank}")
    return process


def find_process(rank, launcher):
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"PPid:\t{launcher}\n" in (folder / "status").read_text() \
                    and f"OMPI_COMM_WORLD_RANK={rank}\0" in (folder / "environ").read_text():
                return int(folder.name)
        except OSError:
            continue
    return None


def lost():
    def group(*arguments, launcher=(), **environment):
        return subprocess.Popen([MPIRUN, *launcher, "--oversubscribe", "-np", "3", ENGINE, "generate", "--model", str(HARBOUR / "hf"),
                                 "--prompt-tokens", "1,352", "--max-tokens", "900", "--ignore-eos", "--device", "cuda", *arguments],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment})

    def ended(what, process, begin, codes, most_seconds, *patterns):
        said = process.communicate(timeout=60)[1].decode()
        seconds = time.monotonic() - begin
        good = process.returncode in codes and seconds < most_seconds and any(re.search(pattern, said) for pattern in patterns)
        expect_equal(f"{what}: ended in {seconds:.1f} s", "as it should" if good else f"exit code {process.returncode}\n{said}",
                     "as it should")

    # Where the launcher lets the others live they see it themselves.
    process = group("--communication", "mpi", launcher=["--enable-recovery"])
    process.stdout.read(20)
    begin = time.monotonic()
    os.kill(process_of(1, process.pid), signal.SIGKILL)
    pattern = rb"error: rank \d on .*: rank 1 \(pid \d+, host .*\) died while rank \d waited for it in "
    said = next((line for line in process.stderr if re.search(pattern, line)), b"nothing")
    seconds = time.monotonic() - begin
    expect_equal(f"a killed rank that the launcher leaves to the others: {seconds:.1f} s, {said.decode().strip()}", said != b"nothing" and seconds < 5, True)
    process.kill()
    process.communicate()
    # Over MPI whoever is faster says it, the launcher or the rank that waited: before sums are connected, in
    # the wait for sums of GPUs, in sums by way of the host.
    for sums, in_generation in (("ipc", False), ("ipc", True), ("nccl", True), ("host", True)):
        process = group("--communication", "mpi", "--gpu-communication", sums)
        while not in_generation and find_process(1, process.pid) is None:
            os.sched_yield()
        if in_generation:
            process.stdout.read(20)
        begin = time.monotonic()
        os.kill(process_of(1, process.pid), signal.SIGKILL)
        ended(f"a killed rank over MPI, {sums}, {'generating' if in_generation else 'starting'}", process, begin, (75, 137), 5,
              r"rank 1 .*(host|node) " + re.escape(platform.node()) + r".*(died|signal 9)",
              # Before the process has reported to it the launcher knows no rank.
              *([] if in_generation else [r"1 process returned\s+a non-zero exit code"]))
    for what, kill, codes, texts, arguments in (
            ("a killed rank", signal.SIGKILL, (75, 137), (r"rank 1 \(pid", "signal 9"), ()),
            ("a rank that hangs", signal.SIGSTOP, (75,), ("rank_timeout",), ("--rank-timeout", "2"))):
        process = group(*arguments)
        process.stdout.read(20)  # in the middle of the generation
        begin = time.monotonic()
        os.kill(process_of(1, process.pid), kill)
        ended(what, process, begin, codes, 15, *texts)
    nccl = [MPIRUN, "--oversubscribe", "-np", "3", ENGINE, "generate", "--model", HARBOUR / "hf", "--prompt-tokens", "1,352", "--max-tokens", "4",
            "--device", "cuda", "--gpu-communication", "nccl"]
    ends("a rank without memory for a window that is wanted", nccl + ["--nccl-windows", "on"], 69, "nccl_windows on: rank 1: NCCL, ncclMemAlloc",
         EMULATED_NCCL_NO_MEMORY="1")
    ends("GPUs without memory for messages", nccl + ["--nccl-windows", "off"], 71, "rank 0: CUDA, device 0", "out of memory", EMULATED_GPU_MIB="8")
    ended("NCCL that does not start on rank 2", group(EMULATED_NCCL_START_FAILS="2"), time.monotonic(), (69,), 15, "rank 2 on ")
    ended("an error of NCCL", group("--gpu-communication", "nccl", EMULATED_NCCL_ERROR_AFTER="40"), time.monotonic(), (75,), 15, "NCCL, a sum between GPUs: ")


def quantised():
    text = [1, 997, 362, 363, 956, 335, 961, 484, 15, 15, 20, 21, 22, 23, 24, 25, 26, 27, 28]
    for dtype in ("q8_0", "q4_0", "f16"):
        expect_equal(f"{dtype}, 2 ranks: bits of the logits", logits(2, HARBOUR / "hf", text, "--dtype", dtype),
                     logits(1, HARBOUR / "hf", text, "--dtype", dtype))
    checkpoints = pathlib.Path(SOURCES) / "tests/golden/quant"
    for name in ("gguf_k/Q4_K_M.gguf", "gguf/Q5_0.gguf", "awq", "fp8_channel"):
        model = checkpoints / name
        if not model.exists():
            print(f"SKIPPED: {name} is not there")
            continue
        reference = json.loads(((model.parent if model.is_file() else model) / "reference.json").read_text())
        prompt, ids = reference["prompts"][1], (reference["files"][model.stem] if model.is_file() else reference)["greedy"][1]
        expect_equal(f"{name}, 2 ranks: greedy ids", greedy(2, model, prompt, 6), ids[:6])
        expect_equal(f"{name}, 3 ranks: bits of the logits", logits(3, model, prompt), logits(1, model, prompt))
    ends("a format that GPUs do not hold", [ENGINE, "generate", "--model", checkpoints / "gptq_desc_act", "--prompt-tokens", "1", "--device", "cuda"],
         78, "does not hold weights of type int4_columns", "--dtype")


{"harbour": harbour, "batch": batch, "golden": golden, "quantised": quantised, "experts": experts, "sums": sums, "products": products, "one": one,
 "refusals": refusals, "lost": lost, "faults": faults, "graphs": graphs}[CASE]()
sys.exit(1 if failures else 0)
