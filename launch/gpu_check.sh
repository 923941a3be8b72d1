#!/usr/bin/env bash
# Checks and measures a host with GPUs, without a network, and writes one report: the tests against the CPU reference, the same under
# compute-sanitizer (of the CUDA Toolkit, where it is there), greedy tokens of GPU ranks against CPU ranks, then every kernel and whole
# models over a copy and the fastest product of the same run.
#   launch/gpu_check.sh [REPORT]                default gpu_report.md; in a folder of launch/bundle.sh, or after cmake --build --preset cuda
#   launch/gpu_check.sh --rehearse [REPORT]     the same steps on emulated GPUs and a small model, after cmake --build --preset release
# LLM_TP_BUILD names another build folder. Ends with 1 where a step failed; the report says which.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rehearsal=
if [[ ${1:-} == --rehearse ]]; then
  rehearsal=1
  shift
fi
report=$(realpath -m "${1:-gpu_report.md}")

if [[ -x $root/bin/llm-tp ]]; then
  engine=$root/bin/llm-tp tests=$root/bin/gpu_test shapes=$root/shapes
elif [[ $rehearsal ]]; then
  build=${LLM_TP_BUILD:-$root/build}
  engine=$build/emulated/llm-tp tests=$build/tests/emulator/emulator_test
else
  build=${LLM_TP_BUILD:-$root/build-cuda}
  engine=$build/llm-tp tests=$build/tests/gpu/gpu_test shapes=$root/tests/engine/shapes
fi
harbour=$root/models/harbour/hf
for file in "$engine" "$tests"; do
  [[ -x $file ]] || { echo "gpu_check: $file is not there: build it, with its tests" >&2; exit 66; }
done
unset LLM_TP_BUILD  # the engine takes variables of this prefix for its keys
run_ranks() { LLM_TP_BINARY=$engine "$root/launch/run.sh" "$@"; }

gpus=0
if [[ $rehearsal ]]; then
  gpus=8
elif command -v nvidia-smi >/dev/null; then
  gpus=$(nvidia-smi -L | grep -c '^GPU' || true)
fi
if ((gpus == 0)); then
  echo "gpu_check: no GPU is here (nvidia-smi lists none); --rehearse runs the steps on emulated ones" >&2
  exit 69
fi

failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT
write() { printf '%s\n' "$@" >>"$report"; }
section() {
  printf '==> [%4d s] %s\n' "$SECONDS" "$1"
  write "" "## $1" ""
}
# step NAME COMMAND…: its output goes into $log; a failure into the report, with the last lines.
step() {
  local name=$1 code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  if ((code == 0)); then return 0; fi
  failed+=("$name")
  write "**FAILED, exit code $code: $name.** Last lines:" '```' "$(tail -n 40 "$log")" '```' ""
  return 1
}
# measured NAME COMMAND…: a step whose whole output goes into the report.
measured() {
  if step "$@"; then write '```' "$(cat "$log")" '```' ""; fi
}
# generates DEVICE RANKS: a step that leaves the token ids in $tokens, empty where it failed.
generates() {
  tokens=
  if step "tokens of $2 $1 ranks" run_ranks "$2" generate --model "$harbour" --prompt-tokens 1,352,451,300 --max-tokens 24 --temperature 0 \
    --ignore-eos --device "$1" --json; then
    tokens=$(sed -nE 's/.*"tokens":\[([0-9,]+)\],"text".*/\1/p' "$log")
  fi
}
# bench NAME ARGUMENTS…: llm-tp bench of one rank, as the step "bench NAME".
bench() { measured "bench $1" "$engine" bench "${@:2}"; }

if [[ $rehearsal ]]; then title="Rehearsal of launch/gpu_check.sh on emulated GPUs: no number here is a GPU's"; else title="Report of launch/gpu_check.sh"; fi
printf '# %s\n\n' "$title" >"$report"
write "- date: $(date -u '+%Y-%m-%d %H:%M UTC')"
if [[ ! $rehearsal ]]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader | sort | uniq -c |
    sed -E 's/^ *([0-9]+) /- cards: \1 x /' >>"$report"
fi
write "- processor: $(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores" "- build: $("$engine" version | paste -sd ';')"

section "Tests against the CPU reference"
if step tests "$tests" --gtest_brief=1; then write "$(grep -E '^\[  PASSED  \]' "$log")"; fi

section "compute-sanitizer"
if [[ $rehearsal ]]; then
  write "Not run: there is no GPU. The emulator's own checks ran above."
elif ! command -v compute-sanitizer >/dev/null; then
  write "**NOT RUN: compute-sanitizer is not on the path; it comes with the CUDA Toolkit.**"
else
  # It follows programs, but not through the C library's loader that bin/start of a bundle names.
  plain=$tests plain_path=${LD_LIBRARY_PATH:-}
  if [[ -x $root/libexec/gpu_test ]]; then
    plain=$root/libexec/gpu_test plain_path=$root/lib:$plain_path
  fi
  for tool in memcheck initcheck racecheck; do
    # Races of kernels that spin, and of all others in minutes: what is not found in two is left to a run by hand.
    code=0
    LD_LIBRARY_PATH=$plain_path timeout 120 compute-sanitizer --tool "$tool" --error-exitcode 9 "$plain" --gtest_brief=1 >"$log" 2>&1 || code=$?
    if ((code == 124)); then
      write "- $tool: **not finished after 120 s**; $(grep -cE 'Race reported|Error: ' "$log" || true) reports until then"
    elif ((code != 0)); then
      failed+=("compute-sanitizer $tool")
      write "**FAILED, exit code $code: compute-sanitizer $tool.** First lines:" '```' "$(head -n 40 "$log")" '```' ""
    else
      write "- $tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1)"
    fi
  done
fi

section "Greedy tokens of harbour: GPU ranks against one CPU rank"
generates cpu 1
wanted=$tokens
for ranks in 1 2 4; do
  if ((ranks > gpus)); then
    write "- $ranks ranks: not run, there are $gpus GPUs"
    continue
  fi
  generates cuda "$ranks"
  if [[ -z $tokens ]]; then continue; fi  # the step has said why
  if [[ $tokens == "$wanted" ]]; then
    write "- $ranks ranks: the same 24 tokens"
  else
    failed+=("tokens of $ranks cuda ranks are others")
    write "- **$ranks ranks: found $tokens, wanted $wanted**"
  fi
done

section "Kernels"
if [[ $rehearsal ]]; then
  bench "kernels" kernels --model "$harbour" --device cuda --prompt-tokens 32 --repetitions 1
else
  for dtype in bf16 f16 q8_0 q4_0; do
    bench "kernels $dtype" kernels --model "dummy:$shapes/llama-3.1-70b" --ranks 8 --dtype "$dtype" --device cuda --prompt-tokens 2048
  done
  bench "kernels bf16, numerics fast" kernels --model "dummy:$shapes/llama-3.1-70b" --ranks 8 --dtype bf16 --device cuda --prompt-tokens 2048 --numerics fast
fi

section "Whole models"
if [[ $rehearsal ]]; then
  bench "harbour" --model "$harbour" --device cuda --prompt-tokens 16 --decode-tokens 4 --repetitions 1
else
  for dtype in bf16 q8_0 q4_0; do
    for batch in 1 8; do
      bench "mistral-nemo $dtype, batch $batch" --model "dummy:$shapes/mistral-nemo" --dtype "$dtype" --device cuda --prompt-tokens 2048 --decode-tokens 128 --batch "$batch"
    done
  done
  bench "mistral-nemo bf16, batch 8, numerics fast" --model "dummy:$shapes/mistral-nemo" --dtype bf16 --device cuda --prompt-tokens 2048 --decode-tokens 128 --batch 8 --numerics fast
  if ((gpus > 1)); then
    measured "bench llama-3.1-70b on all GPUs" run_ranks "$gpus" bench --model "dummy:$shapes/llama-3.1-70b" --dtype bf16 --device cuda --prompt-tokens 2048 --decode-tokens 64
  fi
fi

section "Result"
if ((${#failed[@]})); then
  write "**Failed: $(printf '%s; ' "${failed[@]}")**"
  echo "gpu_check: failed: ${failed[*]}; see $report" >&2
  exit 1
fi
write "Every step passed."
echo "gpu_check: every step passed; see $report"
