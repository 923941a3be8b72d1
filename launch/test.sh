#!/usr/bin/env bash
# Installs what is missing, builds Release and runs every test. Arguments go to ctest: launch/test.sh -R Tokenizer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

heading() { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }

heading "Debian packages"
launch/install_packages.sh
heading "configuring Release in build/"
cmake --preset release
heading "building"
cmake --build --preset release --parallel "$(nproc)"
heading "testing"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
ctest --preset release --parallel "$(nproc)" "$@"
heading "all tests passed"
