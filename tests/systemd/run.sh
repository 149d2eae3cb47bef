#!/usr/bin/env bash
# Starts the units of deploy/systemd under a real systemd, in a container of its own, and removes it again. Needs Docker.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=.venv/bin/python
[ -x "$python" ] || { echo "systemd-test: run it by \`make systemd-test\`, which makes $python" >&2; exit 2; }

# Where no image can be pulled, this script may make images of the same names, and start an engine.
STANDIN_IMAGES=${STANDIN_IMAGES:-../shared/tools/containers}
build_options=()
engine_is_ours=
name=hookline-systemd-test-$$

cleanup() {
    status=$?
    trap - EXIT INT TERM
    set +e
    docker rm -f "$name" >/dev/null 2>&1
    docker image rm -f "$name:units" "$name:hookline" >/dev/null 2>&1
    [ -z "$engine_is_ours" ] || "$STANDIN_IMAGES" down
    [ $status -eq 0 ] && echo "systemd-test: PASS" || echo "systemd-test: FAIL"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! docker info >/dev/null 2>&1; then
    [ -x "$STANDIN_IMAGES" ] || { echo "systemd-test: Docker is not there, or not running" >&2; exit 2; }
    "$STANDIN_IMAGES" up
    engine_is_ours=yes
fi
if [ -x "$STANDIN_IMAGES" ]; then
    "$STANDIN_IMAGES" image "$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)" python
    build_options=(--network host)
fi
build() { docker build "${build_options[@]+"${build_options[@]}"}" -q "$@" >/dev/null; }
build -t "$name:hookline" .
build -t "$name:units" --build-arg "HOOKLINE_IMAGE=$name:hookline" -f tests/systemd/Dockerfile .

# SYS_ADMIN: systemd mounts what the sandbox of a unit asks for. SYS_PTRACE: the checks look into it.
docker run -d --name "$name" --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --cgroupns=private --tmpfs /run --tmpfs /tmp "$name:units" >/dev/null
"$python" tests/systemd/checks.py "$name"
