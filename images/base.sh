#!/usr/bin/env bash
# Make a base image from Debian's own packages, for places where no image registry can be reached, and print its
# name. Its tag holds the image's digest, so it never names two contents. Needs root, debootstrap and an engine.
set -euo pipefail
docker=${DOCKER:-docker}
suite=bookworm # its Python is 3.11, which the requirements are locked for
name=netslim-base

existing=$("$docker" images --format '{{.Repository}}:{{.Tag}}' "$name" | head -n 1)
if [ -n "$existing" ]; then
    echo "$existing"
    exit
fi
if [ "$(id -u)" != 0 ]; then
    echo "images/base.sh: debootstrap needs root; run it as root, or give a base image with BASE=..." >&2
    exit 1
fi
if ! command -v debootstrap > /dev/null; then
    "$(dirname "$0")/apt.sh" debootstrap
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
echo "Making $name from Debian's packages; this takes a minute or two." >&2
debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip "$suite" "$root" > "$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,info,locale,man}/*
id=$(tar -C "$root" --numeric-owner -c . | "$docker" import --change 'CMD ["python3"]' -)
ref="$name:$suite-$(echo "${id#sha256:}" | cut -c -12)"
"$docker" tag "$id" "$ref"
echo "$ref"
