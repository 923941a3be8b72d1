#!/usr/bin/env bash
# Starts llm-tp on several ranks of this host, with the settings that Open MPI wants in containers and on few cores.
#   launch/run.sh RANKS [llm-tp arguments…]      launch/run.sh 2 --config configs/quickstart.yaml
# LLM_TP_BINARY names another binary than build/llm-tp; in a folder of launch/bundle.sh its own is run. Settings of the user's own environment win.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ $# -lt 1 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/run.sh RANKS [llm-tp arguments…]" >&2
  exit 64
fi
ranks=$1
shift
binary=$root/build/llm-tp
if [[ -x $root/bin/mpirun ]]; then
  binary=$root/bin/llm-tp
  PATH=$root/bin:$PATH
fi
binary=${LLM_TP_BINARY:-$binary}
unset LLM_TP_BINARY  # the engine takes variables of this prefix for its keys
if [[ ! -x $binary ]]; then
  echo "run: $binary is not there; build it: cmake --preset release && cmake --build --preset release" >&2
  exit 66
fi

if [[ $(id -u) -eq 0 ]]; then
  # Open MPI refuses root without both; in a container there is no other user.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Threads are bound by the engine: by default mpirun would bind a rank of one or two to a single core.
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
# More ranks than cores is slow, yet legal.
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
# Copies by process_vm_readv are forbidden in most containers, and Open MPI warns about it once a rank.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
if [[ -z ${SLURM_JOB_ID:-}${PBS_NODEFILE:-}${OMPI_MCA_orte_default_hostfile:-} ]]; then
  # One host: no other network interface is needed, and some containers have odd ones.
  export OMPI_MCA_oob_tcp_if_include=${OMPI_MCA_oob_tcp_if_include:-lo}
  export OMPI_MCA_btl_tcp_if_include=${OMPI_MCA_btl_tcp_if_include:-lo}
fi
exec "$root/launch/mpirun.sh" -np "$ranks" "$binary" "$@"
