#!/usr/bin/env bash
# mpirun for servers and batch jobs: takes mpirun's arguments, and SIGTERM lets the ranks finish what they have.
#   launch/mpirun.sh -np 4 build/llm-tp serve --model MODEL
# Open MPI's mpirun answers SIGTERM by killing its ranks and returning 1; SIGUSR1, which means the same to llm-tp, it hands to them.
# A second SIGTERM goes to mpirun as it is.
set -uo pipefail
mpirun "$@" <&0 &
child=$!
drain() {
  trap 'kill -TERM "$child"' TERM
  kill -USR1 "$child"
}
trap drain TERM
for signal in USR1 USR2; do trap "kill -$signal $child" "$signal"; done
wait "$child"
status=$?
# A signal ends `wait`, too: the child's own end is what counts.
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  status=$?
done
exit "$status"
