#!/usr/bin/env bash
# Installs the Debian packages that are missing, as root or with sudo; otherwise prints the line to run and exits 69.
# Says nothing where all are there.
#   launch/install_packages.sh [LIST.txt]...     default: launch/packages.txt
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ $# -eq 0 ]]; then set -- "$folder/packages.txt"; fi

mapfile -t wanted < <(grep -hv '^ *\(#.*\)\?$' "$@" | sort -u)
if ! command -v dpkg-query >/dev/null; then
  echo "launch: this system has no dpkg; install what these Debian packages hold, then run the build by hand:" >&2
  echo "  ${wanted[*]}" >&2
  exit 69
fi

# One query for all: a package that dpkg never heard of is simply not in the answer.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/ installed$//p' || true)
missing=()
for package in "${wanted[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then exit 0; fi

if [[ $(id -u) -eq 0 ]]; then
  as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
  as_root=(sudo)
else
  echo "launch: Debian packages are missing, and this user may not install them. Run as root, then start this again:" >&2
  echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 69
fi
echo "launch: installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
{
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
} >&2 || {
  echo "launch: apt-get could not install them (its messages are above); packages: ${missing[*]}" >&2
  exit 69
}
