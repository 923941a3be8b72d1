#!/bin/sh
# expect_end.sh SECONDS CODES TEXT command…
# The command must end within SECONDS with one of the exit CODES ("75 137") and print TEXT (empty: anything).
seconds=$1 codes=$2 text=$3
shift 3
output=$(timeout -k 5 "$seconds" "$@" 2>&1)
code=$?
printf '%s\nexit code %s\n' "$output" "$code"
for wanted in $codes; do
  if [ "$code" = "$wanted" ]; then
    case $output in
      *"$text"*) exit 0 ;;
      *) echo "the output lacks: $text"; exit 1 ;;
    esac
  fi
done
echo "wanted one of the exit codes: $codes"
exit 1
