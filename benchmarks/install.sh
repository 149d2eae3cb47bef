#!/bin/sh
# Installs wrk, which makes the load, unless it is there. Quick when it is.
set -eu

command -v wrk >/dev/null 2>&1 || sh "$(dirname "$0")/../tests/services/packages.sh" wrk
