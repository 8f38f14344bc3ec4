#!/usr/bin/env bash
# engine.sh start: make sure that a container engine answers, installing and starting Debian's when none does;
#                  prints "started" if it started one, and nothing if one was there already.
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
        command -v apt-get > /dev/null || fail "dockerd is not installed, and there is no apt-get to install it"
        (apt-get update && apt-get install --yes --no-install-recommends docker.io) >&2 ||
            fail "Debian's docker.io cannot be installed"
    fi
    mkdir -p "$state"
    nohup dockerd --bridge=none --iptables=false --pidfile "$state/pid" > "$state/log" 2>&1 < /dev/null &
    for _ in $(seq 60); do
        answers && echo started && return
        sleep 1
    done
    tail -n 20 "$state/log" >&2
    fail "dockerd does not answer; its last words are above"
}

stop() {
    [ -f "$state/pid" ] || return 0
    pid=$(cat "$state/pid")
    kill "$pid" 2> /dev/null || true
    while kill -0 "$pid" 2> /dev/null; do sleep 0.2; done
    rm -f "$state/pid"
}

"$1"
