#!/usr/bin/env bash
# From a clone to a streamed answer: packages, Release build, a real model, two ranks.
# Without a network for the model, the small model of the repository answers instead.
# QUICKSTART_RANKS sets another number of ranks than 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ranks=${QUICKSTART_RANKS:-2}

heading() { printf '==> [%3d s] %s\n' "$SECONDS" "$*" >&2; }

heading "Debian packages"
launch/install_packages.sh

if [[ ! -f build/build.ninja ]]; then
  heading "configuring a Release build in build/"
  cmake --preset release >&2
fi
heading "building llm-tp (the first time takes minutes)"
cmake --build --preset release --target llm-tp --parallel "$(nproc)" >&2

heading "model: SmolLM2-135M-Instruct"
fetched=0
model=$(launch/fetch_model.sh) || fetched=$?
config=configs/quickstart.yaml
case $fetched in
  0) ;;
  69)
    config=configs/offline.yaml
    model=models/harbour/hf
    heading "no network for the model: the small model of the repository, $model, is used instead"
    ;;
  *) exit "$fetched" ;;
esac

heading "mpirun -np $ranks build/llm-tp --config $config --model $model"
exec launch/run.sh "$ranks" --config "$config" --model "$model"
