#!/usr/bin/env python3
"""Plants the bugs of mutants.txt, one at a time, and tells which of them the emulated tests catch: mutate.py [BUILD…]

Every BUILD (default: build build-tsan build-asan, those that are there) is a configured preset in which emulator_test was built. A bug is planted in a
copy of its file; what depends on it is compiled, the test program linked anew and run; one that a build misses goes on to the next.
--only WORD   kinds, files or texts that contain it
--jobs N      bugs at a time (default 2)
--log FILE    verdicts are added to it, and those that stand there already are not sought again
--check       only looks whether every bug still fits its file
--table FILE  writes the table of docs/mutations.md
Ends with 1 where fewer than 95 of 100 bugs are caught. Takes minutes: for nights, not for CI.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shutil
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = "kernels/cuda"
MISSED = "NOT CAUGHT"


class Mutant:
    def __init__(self, paragraph):
        lines = paragraph.splitlines()
        self.kind, self.file, self.what = (part.strip() for part in lines[0].split("|"))
        self.old = "\n".join(line[1:] for line in lines[1:] if line.startswith("-"))
        self.new = "\n".join(line[1:] for line in lines[1:] if line.startswith("+"))
        text = (ROOT / KERNELS / self.file).read_text()
        if text.count(self.old) != 1:
            raise SystemExit(f"mutants.txt: {self.file}, {self.what}: its text stands in the file {text.count(self.old)} times, not once")
        self.text = text.replace(self.old, self.new)

    def name(self):
        return f"{self.kind} | {self.file} | {self.what}"


def read_mutants():
    text = (ROOT / "tests/emulator/mutants.txt").read_text()
    text = re.sub(r"\A(#.*\n)+", "", text).strip("\n")
    return [Mutant(paragraph) for paragraph in re.split(r"\n\n+", text)]


class Build:
    """How a build folder compiles each object of the test program, and links it."""

    def __init__(self, folder):
        self.folder = folder
        entries = json.loads((folder / "compile_commands.json").read_text())
        link = subprocess.run(["ninja", "-t", "commands", "emulator_test"], cwd=folder, capture_output=True, text=True, check=True)
        link = link.stdout.strip().splitlines()[-1].removeprefix(": && ")
        self.link = shlex.split(link[:link.index(" && ")])
        sources = {self.output(entry): entry for entry in entries}
        self.compile = {word: sources[word] for word in self.link if word in sources}
        deps = subprocess.run(["ninja", "-t", "deps", *self.compile], cwd=folder, capture_output=True, text=True, check=True).stdout
        self.deps = {}
        for block in deps.strip().split("\n\n"):
            head, *paths = block.splitlines()
            self.deps[head.split(":")[0]] = {os.path.normpath(folder / path.strip()) for path in paths}
        self.sanitizer = next((name for name in ("thread", "address") if f"-fsanitize={name}" in link), "")

    @staticmethod
    def output(entry):
        words = shlex.split(entry["command"])
        return words[words.index("-o") + 1]

    def compile_command(self, entry, folder, path, out):
        words = shlex.split(entry["command"])
        source = os.path.normpath(entry["file"])
        words = [w for w in words if w not in ("-MD", "-O3")]
        words[1:1] = ["-O1", f"-I{folder}", "-w"]
        words[words.index("-o") + 1] = str(out)
        words[words.index("-c") + 1] = str(path) if source == str(ROOT / KERNELS / path.name) else source
        return words

    def run(self, mutant, folder):
        """What caught the bug, or an empty string."""
        copy = folder / KERNELS / mutant.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(mutant.text)
        link = list(self.link)
        touched = [out for out, deps in self.deps.items() if str(ROOT / KERNELS / mutant.file) in deps]
        if not touched:
            raise SystemExit(f"{self.folder}: nothing depends on {mutant.file}; build emulator_test first")
        for number, out in enumerate(touched):
            mine = folder / f"{number}.o"
            done = subprocess.run(self.compile_command(self.compile[out], folder, copy, mine), cwd=self.folder, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"mutants.txt: {mutant.file}, {mutant.what}: does not compile:\n{done.stderr[-2000:]}")
            link[link.index(out)] = str(mine)
        program = folder / "emulator_test"
        link[link.index("-o") + 1] = str(program)
        subprocess.run(link, cwd=self.folder, check=True)
        return self.verdict(program)

    def verdict(self, program):
        start = ["setarch", os.uname().machine, "-R"] if self.sanitizer == "thread" else []
        environment = dict(os.environ, GTEST_FAIL_FAST="1", ASAN_OPTIONS="detect_leaks=0", TSAN_OPTIONS="halt_on_error=1")
        try:
            done = subprocess.run(start + [program], cwd=program.parent, env=environment, capture_output=True, timeout=300)
        except subprocess.TimeoutExpired:
            return "no end in 300 s"
        finally:
            program.unlink()
        if done.returncode == 0:
            return ""
        text = (done.stdout + done.stderr).decode(errors="replace")
        failed = re.search(r"\[  FAILED  \] \w+\.(\w+)", text)
        test = failed[1] if failed else (re.findall(r"\[ RUN      \] \w+\.(\w+)", text) or ["?"])[-1]
        if found := re.search(r"(Address|Thread)Sanitizer: ([\w-]+(?: race)?)", text):
            return f"{found[1]}Sanitizer, {found[2]}: {test}"
        if found := re.search(r"runtime error: (.{0,60})", text):
            return f"UndefinedBehaviorSanitizer, {found[1]}: {test}"
        if found := re.search(r"block \(\d+,\d+,\d+\): (?:thread \d+: )?(.{0,60}?)(?::|;|,|\"|\n|$)", text):
            return f"emulator, {found[1]}: {test}"
        return ("wrong numbers: " if done.returncode == 1 else "crash: ") + test


def hunt(mutant, number, builds):
    for build in builds:
        folder = build.folder / "mutants" / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # what an earlier run with other numbers left
        caught = build.run(mutant, folder)
        if caught:
            return caught
    return ""


def table_of(mutants, verdicts, builds):
    caught = sum(bool(v) for v in verdicts)
    today = datetime.date.today()
    lines = ["# Mutation run of the GPU kernels", "",
             f"`tests/emulator/mutate.py` plants each of these bugs in `kernels/cuda` and runs the emulated tests ([cuda.md](cuda.md)). Run of "
             f"{today.day} {today:%B %Y}, builds {', '.join(b.folder.name for b in builds)} in this order, each with what the one before missed: "
             f"**{caught} of {len(mutants)} caught.** Compiled and emulated, not run on a GPU.", "",
             "| kind | caught | of |", "|---|---|---|"]
    for kind in dict.fromkeys(m.kind for m in mutants):
        mine = [bool(v) for m, v in zip(mutants, verdicts) if m.kind == kind]
        lines.append(f"| {kind} | {sum(mine)} | {len(mine)} |")
    lines += ["", "| kind | file | bug | caught by |", "|---|---|---|---|"]
    lines += [f"| {m.kind} | {m.file} | {m.what} | {v.replace('|', ' ') or '**not caught**'} |" for m, v in zip(mutants, verdicts)]
    return "\n".join(lines) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("builds", nargs="*", type=pathlib.Path)
    options.add_argument("--only", default="")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--log", type=pathlib.Path, default=pathlib.Path(os.devnull))
    options.add_argument("--check", action="store_true")
    options.add_argument("--table", type=pathlib.Path)
    chosen = options.parse_args()
    if chosen.check:
        print(f"{len(read_mutants())} bugs fit their files")
        return 0
    wanted = chosen.builds or [p for p in (ROOT / "build", ROOT / "build-tsan", ROOT / "build-asan") if (p / "tests/emulator/emulator_test").exists()]
    builds = [Build(folder.resolve()) for folder in wanted]
    if not builds:
        raise SystemExit("mutate: no build: cmake --preset release && cmake --build --preset release --target emulator_test, likewise asan and tsan")
    mutants = [m for m in read_mutants() if chosen.only in f"{m.kind} {m.file} {m.what}"]
    known = dict(line.rsplit(" | ", 1) for line in chosen.log.read_text().splitlines() if line.count(" | ") == 3) if chosen.log.exists() else {}
    verdicts = [known.get(m.name(), "").replace(MISSED, "") for m in mutants]
    with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
        running = {pool.submit(hunt, m, n, builds): n for n, m in enumerate(mutants) if m.name() not in known}
        for done in concurrent.futures.as_completed(running):
            number = running[done]
            verdicts[number] = done.result()
            line = f"{mutants[number].name()} | {verdicts[number] or MISSED}"
            print(line, flush=True)
            with chosen.log.open("a") as log:
                log.write(line + "\n")
    caught = sum(bool(v) for v in verdicts)
    print(f"{caught} of {len(mutants)} bugs caught")
    if chosen.table:
        chosen.table.write_text(table_of(mutants, verdicts, builds))
    return 0 if caught >= 0.95 * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
