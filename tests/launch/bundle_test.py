#!/usr/bin/env python3
"""launch/bundle.sh: the folder runs from another path, in an empty environment, with its own libraries alone: bundle_test.py SOURCES BUILD"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCES, BUILD = map(pathlib.Path, sys.argv[1:])


def main():
    with tempfile.TemporaryDirectory() as folder:
        made, moved = pathlib.Path(folder) / "made", pathlib.Path(folder) / "another place"
        subprocess.run([SOURCES / "launch/bundle.sh", BUILD, made], check=True)
        shutil.move(made, moved)
        traces = pathlib.Path(folder) / "libraries"
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LD_LIBRARY_PATH": "", "LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(traces)}
        case = json.loads((SOURCES / "models/harbour/reference.json").read_text())["prompts"][0]
        done = subprocess.run([moved / "launch/run.sh", "2", "generate", "--model", moved / "models/harbour/hf", "--prompt-tokens",
                               ",".join(map(str, case["prompt_ids"])), "--max-tokens", "16", "--temperature", "0", "--ignore-eos", "--device", "cpu", "--json"],
                              env=environment, cwd="/", capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
        answer = json.loads(done.stdout)
        assert answer["ranks"] == 2, answer["ranks"]
        assert answer["choices"][0]["tokens"] == case["greedy"]["ids"][:16], answer["choices"][0]["tokens"]

        loaded = set()
        for trace in pathlib.Path(folder).glob("libraries.*"):
            loaded |= set(re.findall(r"calling init: (/.*)", trace.read_text(errors="replace")))
        ours = {path for path in loaded if path.startswith(str(moved))}
        # The start script's shell and tools are the host's, and these are theirs.
        foreign = {path for path in loaded - ours if not re.search(r"/(libc|libtinfo|libselinux|libpcre2-8|ld-linux-x86-64)\.so", path)}
        for name in ("libc.so", "libmpi.so", "mca_pmix", "mca_btl_vader", "libstdc++.so"):
            assert any(name in path for path in ours), (name, sorted(loaded))
        assert not foreign, foreign
        print(f"two ranks gave the reference's ids with {len(ours)} libraries of the folder and no other")


if __name__ == "__main__":
    main()
