#!/usr/bin/env bash
# Packs llm-tp, the libraries it needs, Open MPI, a small model and launch/gpu_check.sh into one folder that runs from any path on
# any x86-64 Linux, without root and without a network: to carry to a host with GPUs.
#   launch/bundle.sh [BUILD [FOLDER]]     default: build-cuda llm-tp-bundle
# There: FOLDER/launch/run.sh RANKS [llm-tp arguments…], FOLDER/launch/gpu_check.sh. 60 MiB at most.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath "${1:-$root/build-cuda}")
folder=$(realpath -m "${2:-llm-tp-bundle}")
most_mib=60

fail() {
  echo "bundle: $1" >&2
  exit "$2"
}
[[ -x $build/llm-tp ]] || fail "$build/llm-tp is not there; build it: cmake --preset cuda && cmake --build --preset cuda" 66
[[ ! -e $folder ]] || fail "$folder is there already: remove it, or name another folder" 64
orterun=$(readlink -f "$(command -v mpirun)")
orted=$(command -v orted) || fail "orted of Open MPI was not found" 69
plugins=$(ompi_info --path pkglibdir --parsable | cut -d: -f3)
texts=$(ompi_info --path pkgdatadir --parsable | cut -d: -f3)

mkdir -p "$folder"/{bin,libexec,lib/openmpi,lib/pmix,share,etc,launch,models,shapes}
cp "$build/llm-tp" "$orterun" "$orted" "$folder/libexec"
for program in "$build"/tests/gpu/gpu_test; do
  if [[ -x $program ]]; then cp "$program" "$folder/libexec"; fi
done
# Without the networks that a carried program cannot count on, and OpenSHMEM.
for plugin in "$plugins"/mca_*.so; do
  case ${plugin##*/} in
    *ucx* | *ofi* | *psm* | *openib* | *flux* | *gridengine* | *memheap* | *scoll* | *spml* | *sshmem* | *vprotocol* | *romio*) ;;
    *) cp "$plugin" "$folder/lib/openmpi" ;;
  esac
done
shopt -s nullglob
cp /usr/lib/*/pmix2/lib/pmix/*.so "$folder/lib/pmix" 2>/dev/null || true
cp -r "$texts" "$folder/share/openmpi"
# The C library too: the other host's may be older. Its loader is named by the start script, so that nothing else there meets it.
mapfile -t libraries < <(for file in "$folder"/libexec/* "$folder"/lib/*/*.so; do ldd "$file"; done |
  sed -nE 's/.* => (\/[^ ]+) .*/\1/p; s/^\s*(\/[^ ]+ld-linux[^ ]*) .*/\1/p' | sort -u)
for library in "${libraries[@]}"; do cp -L "$library" "$folder/lib"; done
# A GPU's driver asks for these parts of the C library, which must be of the same version.
c_library=$(printf '%s\n' "${libraries[@]}" | grep '/libc\.so\.6$' | head -n 1)
for name in libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libnss_dns.so.2; do
  if [[ -e ${c_library%/*}/$name ]]; then cp -L "${c_library%/*}/$name" "$folder/lib"; fi
done
# In a folder of its own: Open MPI tells the programs that it starts to look in lib, the host's shell among them.
mkdir "$folder/libc"
for name in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libnss_dns.so.2; do
  if [[ -e $folder/lib/$name ]]; then mv "$folder/lib/$name" "$folder/libc"; fi
done
strip --strip-unneeded "$folder"/libexec/* "$folder"/lib/*.so* "$folder"/libc/*.so* "$folder"/lib/*/*.so 2>/dev/null || true

cat >"$folder/bin/start" <<'START'
#!/bin/sh
# Starts the program of libexec that it is called by, with the libraries of this folder, and of LD_LIBRARY_PATH where it
# lacks them: a driver, or NCCL.
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export OPAL_PREFIX="$here" OPAL_BINDIR="$here/bin" OPAL_LIBDIR="$here/lib" OPAL_PKGLIBDIR="$here/lib/openmpi"
export OPAL_PKGDATADIR="$here/share/openmpi" OPAL_SYSCONFDIR="$here/etc"
export PMIX_INSTALL_PREFIX="$here" PMIX_PKGLIBDIR="$here/lib/pmix" HWLOC_PLUGINS_PATH="$here/lib/hwloc"
name=$(basename "$0")
if [ "$name" = mpirun ]; then name=orterun; fi
exec "$here/libc/ld-linux-x86-64.so.2" --library-path "$here/lib:$here/libc${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$here/libexec/$name" "$@"
START
chmod +x "$folder/bin/start"
for program in "$folder"/libexec/*; do ln -s start "$folder/bin/${program##*/}"; done
ln -s start "$folder/bin/mpirun"
cp "$root"/launch/{run.sh,mpirun.sh,gpu_check.sh} "$folder/launch"
cp -r "$root/models/harbour" "$folder/models"
cp -r "$root"/tests/engine/shapes/. "$folder/shapes"
cp "$root/LICENSE" "$folder"

mib=$(du -sm "$folder" | cut -f1)
echo "$folder: $mib MiB, $(find "$folder" -type f | wc -l) files"
((mib <= most_mib)) || fail "more than $most_mib MiB" 70
