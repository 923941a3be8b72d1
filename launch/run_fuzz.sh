#!/usr/bin/env bash
# Builds the libFuzzer targets with clang and runs each for a time, or for a number of inputs.
#   launch/run_fuzz.sh [SECONDS]          default 30 a target
#   launch/run_fuzz.sh --inputs 1000000   that many inputs a target
# A crashing input stays in build-fuzz/findings and ends this with 1; the corpora grow in build-fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=(-max_total_time="${1:-30}" -max_len=131072)
# Small inputs run a hundred times as fast as whole files, so a count of inputs is a count of small ones.
if [[ ${1:-} == --inputs ]]; then limit=(-runs="${2:?a number of inputs}" -max_len=4096); fi

launch/install_packages.sh launch/packages.txt launch/packages_check.txt
cmake --preset fuzz
cmake --build --preset fuzz --target fuzz_targets --parallel "$(nproc)"

shopt -s nullglob
mkdir -p build-fuzz/findings
failed=()
for source in tests/fuzz/fuzz_*.cc; do
  target=$(basename "$source" .cc)
  corpus=build-fuzz/corpus/$target
  mkdir -p "$corpus"
  # Starting points: real files, cut where they are large; what lies behind the header is numbers.
  case $target in
    fuzz_yaml) cp configs/*.yaml "$corpus" ;;
    fuzz_gguf) cp tests/golden/quant/gguf/Q4_0.gguf "$corpus" ;;
    fuzz_safetensors) head -c 65536 tests/golden/models/llama_biases/model.safetensors >"$corpus/llama_biases" ;;
    fuzz_model_shape)
      for folder in tests/golden/models/*/ tests/engine/shapes/*/; do cp "$folder/config.json" "$corpus/$(basename "$folder").json"; done
      cp tests/golden/quant/gguf/Q4_0.gguf "$corpus"
      ;;
    fuzz_adapter_config) echo '{"peft_type":"LORA","task_type":"CAUSAL_LM","r":8,"lora_alpha":16,"use_rslora":true,"bias":"none","target_modules":["q_proj"],"rank_pattern":{"q_proj":4},"alpha_pattern":{"q_proj":2.5}}' >"$corpus/lora.json" ;;
    fuzz_chat_template) cp tests/text/templates/*.jinja "$corpus" ;;
    fuzz_openai_request)  # the first byte chooses the endpoint
      for n in 0 1 2 3 4; do printf "\\x0$n%s" '{"prompt":"a","messages":[{"role":"user","content":"b"}]}' >"$corpus/$n"; done ;;
    fuzz_tool_reply)  # the first byte chooses the style, the second the pieces
      printf '\x00\x03<tool_call>\n{"name": "tide", "arguments": {"day": [1, "a\\n"]}}\n</tool_call> and' >"$corpus/hermes"
      printf '\x01\x02{"name": "a", "parameters": {"x": null}}' >"$corpus/llama3"
      printf '\x02\x01[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "tide", "arguments": {"d": 1.5e3}}]' >"$corpus/list"
      printf '\x03\x04[TOOL_CALLS]tide[CALL_ID]123456789[ARGS]{"d": true}' >"$corpus/named" ;;
    fuzz_tokenizer_json) cp tests/fuzz/tokenizer_json/*.json "$corpus" ;;
  esac
  words=()
  if [[ -e tests/fuzz/$target.dict ]]; then words=(-dict="tests/fuzz/$target.dict"); fi
  echo "==> [$SECONDS s] $target"
  log=build-fuzz/$target.log
  if build-fuzz/tests/fuzz/"$target" "${limit[@]}" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 "${words[@]}" \
    -artifact_prefix="build-fuzz/findings/$target-" "$corpus" >"$log" 2>&1; then
    grep '^stat::' "$log"
  else
    tail -n 60 "$log"
    failed+=("$target")
  fi
done
if [[ ${#failed[@]} -gt 0 ]]; then
  echo "run_fuzz: failed: ${failed[*]}; the inputs are in build-fuzz/findings" >&2
  exit 1
fi
