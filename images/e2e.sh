#!/usr/bin/env bash
# Build the images and run the whole pipeline in them: e2e.sh PYTHON. The base image is BASE, or made from
# Debian's packages; the engine is the one that runs, or Debian's, started here and stopped at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$(images/engine.sh start)
[ -z "$started" ] || trap 'images/engine.sh stop' EXIT # one that was there before is left alone
"$1" images/build.py --base "${BASE:-$(images/base.sh)}" --host-wheels
"$1" -m pytest -m docker tests/images tests/e2e/test_docker.py
