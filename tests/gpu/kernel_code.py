#!/usr/bin/env python3
"""What nvcc made of every kernel, against the committed table kernel_code.txt: kernel_code.py [BUILD] [--write]

BUILD (default build-cuda): the folder of the preset cuda, with llm_tp_cuda built for one architecture. Read with cuobjdump of the CUDA Toolkit, or of the
PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm put into BUILD/tools (pip install --target BUILD/tools …). Checked for every kernel:
- no local memory but what is known: no spill, no array with an index that is not known
- the instructions that its source stands for: HMMA of mma, LDSM of ldmatrix, LDGSTS of cp.async, 128-bit loads, MUFU.EX2
- registers, shared memory and counts of instructions as in the table, where nvcc is the table's
--write makes the table anew. Ends with 1 where something differs, with 77 where cuobjdump is missing.
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = pathlib.Path(__file__).with_suffix(".txt")

# Column of the table and the instructions that it counts.
COUNTED = {
    "HMMA": r"HMMA\.16816\.F32(\.BF16)?", "LDSM": r"LDSM\.16\.\S*M88\.4", "LDGSTS": r"LDGSTS\.\S*128", "LDG128": r"LDG\.E\.(NA\.)?128", "LDG64": r"LDG\.E\.(NA\.)?64",
    "STG128": r"STG\.E\.128", "EX2": r"MUFU\.EX2", "SHFL": r"SHFL\.", "BAR": r"BAR\.SYNC",
}
# ahead: loads of weights before the first mma, so how many are on their way at once.
COLUMNS = ["registers", "local", "shared", *COUNTED, "ahead"]
# What a kernel is nothing without, by its name with arguments.
WANTED = {
    r"(linear_few|multiply_experts)_kernel<(F32|F16|BF16|Q8_0|Int8G32|Fp8G32)(,[12])?(,heads)?>": ["HMMA", "LDG128", "ahead", "BAR"],
    r"(linear_few|multiply_experts)_kernel<(Q4_[01]|Q5_0|Q[456]K|Int4G32)(,[12])?(,heads)?>": ["HMMA", "LDG64", "ahead", "BAR"],
    r"linear_many_kernel<(F32|F16|BF16|Q8_0|Int8G32|Fp8G32),[13]>": ["HMMA", "LDG128", "LDGSTS", "ahead", "BAR"],
    r"linear_many_kernel<(Q4_[01]|Q5_0|Q[456]K|Int4G32),[13]>": ["HMMA", "LDG64", "LDGSTS", "ahead", "BAR"],
    r"attend_kernel<\d+,(BF16|F16),(rows|keys)>": ["HMMA", "LDSM", "LDGSTS", "EX2", "SHFL", "BAR"],
    r"attend_kernel<\d+,F32,(rows|keys)>": ["HMMA", "LDSM", "LDG128", "EX2", "SHFL", "BAR"],
    r"attend_kernel<\d+,(Int8|E4M3),(rows|keys)>": ["HMMA", "LDSM", "LDG64", "EX2", "SHFL", "BAR"],
    r"linear_one_kernel<(F32|F16|BF16|Q8_0|Int8G32|Fp8G32)(,heads)?>": ["HMMA", "LDG128", "ahead", "BAR"],
    r"linear_one_kernel<(Q4_[01]|Q5_0|Q[456]K|Int4G32)(,heads)?>": ["HMMA", "LDG64", "ahead", "BAR"],
    r"copy_pages_kernel": ["LDG128", "STG128"],
    r"merge_chunks_kernel": ["EX2"],
    r"(rms_norm|add_norm|head_squares|prepare_heads|score_runs|route)_kernel": ["SHFL"],
    r"pick_candidates_kernel": ["SHFL", "BAR"],
    r"peer_sum_(whole|slices)_kernel<float4>": ["LDG128", "STG128", "BAR"],
}
# Local memory that is known, at most so many bytes a thread. Where warps divide rows, a thread has two sets of sums: of heads of 256
# they are more than there are registers, of 128 nearly as many; addresses that the loop over tiles could compute anew are kept there.
KNOWN_LOCAL = {r"linear_one_kernel<\w+,heads>": 8, r"attend_kernel<256,\w+,rows>": 600, r"attend_kernel<128,\w+,rows>": 128, r"attend_kernel<\d+,\w+,keys>": 64}


def find_cuobjdump(build):
    folders = [os.environ.get("CUDA_PATH", "/usr/local/cuda") + "/bin", str(build / "tools/nvidia/cu13/bin")]
    for folder in folders:  # cuobjdump itself looks for nvdisasm on the path
        os.environ["PATH"] += os.pathsep + folder
    return shutil.which("cuobjdump") and shutil.which("nvdisasm") and "cuobjdump"


def dtype_names():
    text = (ROOT / "src/base/dtype.h").read_text()
    return re.findall(r"^\s*k(\w+),", text[text.index("enum class DType"):], re.M)


def kernel_name(mangled, dtypes):
    text = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\(\w+::DType\)(\d+)", lambda number: re.sub(r"Q(\d)(\d)", r"Q\1_\2", dtypes[int(number[1])]), text)
    text = re.sub(r"\(\w+::Divided\)([01])", lambda number: ("rows", "keys")[int(number[1])], text)
    text = re.sub(r", \(\w+::After\)([01])", lambda number: ("", ", heads")[int(number[1])], text)
    return re.search(r"(\w+_kernel(?:<[^<>]*>)?)\(", text.replace("(int)", "").replace(", ", ","))[1]


def read_kernels(objects):
    dtypes, kernels = dtype_names(), {}
    for path in objects:
        usage = subprocess.run(["cuobjdump", "-res-usage", path], capture_output=True, text=True, check=True).stdout
        for mangled, numbers in re.findall(r"Function (\w+):\n\s*(REG:.*)", usage):
            use = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", numbers)}
            kernels[mangled] = collections.Counter(registers=use["REG"], local=use["STACK"] + use["LOCAL"], shared=use["SHARED"])
        mangled = None
        for line in subprocess.run(["cuobjdump", "-sass", path], capture_output=True, text=True, check=True).stdout.splitlines():
            if found := re.match(r"\s*Function : (\w+)", line):
                mangled = found[1]
            elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(\S+)", line):
                row = kernels[mangled]
                row["ahead"] += not row["HMMA"] and ".NA." in found[1]
                for column, pattern in COUNTED.items():
                    row[column] += bool(re.match(pattern, found[1]))
    return {kernel_name(mangled, dtypes): row for mangled, row in kernels.items()}


def table_of(kernels, made_by):
    rows = [["kernel", *COLUMNS]] + [[name, *(str(row[column]) for column in COLUMNS)] for name, row in sorted(kernels.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join([f"# {made_by}. Registers a thread; bytes of local memory a thread, of static shared memory a block; instructions; ahead: "
                      "loads of weights before the first HMMA.", *lines]) + "\n"


def most_local(name):
    return next((most for pattern, most in KNOWN_LOCAL.items() if re.fullmatch(pattern, name)), 0)


def missing_instructions(kernels):
    problems = [f"{name}: {row['local']} bytes of local memory a thread, at most {most_local(name)} are wanted"
                for name, row in kernels.items() if row["local"] > most_local(name)]
    for pattern, columns in WANTED.items():
        mine = [name for name in kernels if re.fullmatch(pattern, name)]
        problems += [f"{pattern}: there is no such kernel"] * (not mine)
        problems += [f"{name}: no {column} ({COUNTED[column]})" for name in mine for column in columns if not kernels[name][column]]
    return problems


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("build", nargs="?", type=pathlib.Path, default=ROOT / "build-cuda")
    options.add_argument("--write", action="store_true")
    chosen = options.parse_args()
    if not find_cuobjdump(chosen.build):
        print("kernel_code: NOT CHECKED: cuobjdump and nvdisasm were not found")
        return 77
    objects = sorted((chosen.build / "kernels/cuda").rglob("*.cu.o"))
    if not objects:
        raise SystemExit(f"kernel_code: {chosen.build} has no kernels: cmake --preset cuda && cmake --build --preset cuda --target llm_tp_cuda")
    cache = (chosen.build / "CMakeCache.txt").read_text()
    nvcc = subprocess.run([re.search(r"LLM_TP_NVCC\S*=(\S+)", cache)[1], "--version"], capture_output=True, text=True, check=True).stdout
    version, chip = re.search(r"V([0-9.]+)", nvcc), re.search(r"LLM_TP_CUDA_ARCHITECTURES:STRING=(\S+)", cache)
    made_by = f"nvcc {version[1]}, sm_{chip[1]}"
    kernels = read_kernels(objects)
    problems = missing_instructions(kernels)
    table = table_of(kernels, made_by)
    if chosen.write:
        TABLE.write_text(table)
    wanted = TABLE.read_text()
    if wanted.splitlines()[0] != table.splitlines()[0]:
        print(f"kernel_code: counts were not compared: this is {made_by}, the table is of another compiler or architecture")
    else:
        before, now = set(wanted.splitlines()), set(table.splitlines())
        problems += [f"not as in {TABLE.name}: - {line}" for line in sorted(before - now)] + [f"not as in {TABLE.name}: + {line}" for line in sorted(now - before)]
    print("\n".join(problems) or f"kernel_code: {len(kernels)} kernels of {made_by} are as they should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
