#!/usr/bin/env bash
# apt.sh PACKAGE...: install Debian packages, if the environment has APT=1 or CI=true; else print the command.
set -euo pipefail
install=(apt-get install --yes --no-install-recommends "$@")
if [ "${APT:-}" != 1 ] && [ "${CI:-}" != true ]; then
    printf '%s is not installed. Install it:\n    sudo apt-get update && sudo %s\n' "$*" "${install[*]}" >&2
    echo "or run this target again as root with APT=1, which does so." >&2
    exit 1
fi
command -v apt-get > /dev/null || { echo "$* is not installed, and neither is apt-get." >&2; exit 1; }
echo "Installing with apt-get: $*" >&2
(apt-get update && "${install[@]}") >&2
