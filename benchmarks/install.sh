#!/bin/sh
# Installs wrk, which makes the load, unless it is there. Quick when it is.
set -eu

if command -v wrk >/dev/null 2>&1; then
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "wrk is missing. Run as root: apt-get install wrk" >&2
        exit 1
    fi
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wrk >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet wrk
else
    echo "wrk is missing, and there is neither apt-get nor brew to install it with." >&2
    exit 1
fi
