#!/usr/bin/env bash
# engine.sh start: make sure that a container engine answers, and start one when none does; prints "started"
#                  if it started one. Debian's docker.io is installed only with APT=1 or CI=true.
# engine.sh stop:  stop the engine that `start` started.
#
# The engine has no bridge and touches no firewall: builds and steps use the host's network or none.
set -euo pipefail
state=/var/run/netslim-engine
docker=${DOCKER:-docker}

answers() { "$docker" info > /dev/null 2>&1; }

fail() {
    echo "==================================================================" >&2
    echo "No container engine runs here: $1" >&2
    echo "Nothing was built or tested in containers." >&2
    echo "==================================================================" >&2
    exit 1
}

start() {
    answers && return
    [ "$(id -u)" = 0 ] || fail "none answers, and only root can start one"
    if ! command -v dockerd > /dev/null; then
        "$(dirname "$0")/apt.sh" docker.io || fail "dockerd is not installed"
    fi
    mkdir -p "$state"
    nohup dockerd --bridge=none --iptables=false --pidfile "$state/pid" > "$state/log" 2>&1 < /dev/null &
    for _ in $(seq 60); do
        answers && echo started && return
        sleep 1
    done
    tail -n 20 "$state/log" >&2
    fail "dockerd does not answer; the end of its log is above"
}

stop() {
    [ -f "$state/pid" ] || return 0
    pid=$(cat "$state/pid")
    kill "$pid" 2> /dev/null || true
    while kill -0 "$pid" 2> /dev/null; do sleep 0.2; done
    rm -f "$state/pid"
}

"$1"
