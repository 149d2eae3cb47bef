#!/usr/bin/env bash
# Starts all of compose.yaml under a project name of its own, sends signed callbacks through HAProxy, kills and replaces
# containers meanwhile, and removes everything again. Needs Docker, and `docker compose` or docker-compose 1.29.
# HOOKLINE_TEST_HISTORY=1 runs it with [history] enabled.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=.venv/bin/python
[ -x "$python" ] || { echo "compose-test: run it by \`make compose-test\`, which makes $python" >&2; exit 2; }

# Where no image can be pulled, this script may make images of the same names, and start an engine.
STANDIN_IMAGES=${STANDIN_IMAGES:-../shared/tools/containers}
build_options=()
engine_is_ours=
work=$(mktemp -d)

cleanup() {
    status=$?
    trap - EXIT INT TERM
    set +e
    if [ -n "${compose:-}" ]; then
        if [ $status -ne 0 ]; then
            $compose ps
            $compose logs --no-color --tail=30
        fi
        $compose down -v --remove-orphans -t 5 >/dev/null 2>&1
        docker image rm -f "$HOOKLINE_IMAGE" >/dev/null 2>&1
    fi
    [ -z "$engine_is_ours" ] || "$STANDIN_IMAGES" down
    rm -rf "$work"
    [ $status -eq 0 ] && echo "compose-test: PASS" || echo "compose-test: FAIL"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! docker info >/dev/null 2>&1; then
    [ -x "$STANDIN_IMAGES" ] || { echo "compose-test: Docker is not there, or not running" >&2; exit 2; }
    "$STANDIN_IMAGES" up
    engine_is_ours=yes
fi
if [ -x "$STANDIN_IMAGES" ]; then
    pinned() { sed -n "s|.*:-\($1:[^}]*\)}.*|\1|p" compose.yaml; }
    "$STANDIN_IMAGES" image "$(pinned python)" python
    "$STANDIN_IMAGES" image "$(pinned rabbitmq)" rabbitmq
    "$STANDIN_IMAGES" image "$(pinned haproxy)" haproxy haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg
    for name in prometheus postgresql; do
        "$STANDIN_IMAGES" image "hookline-standin-$name:1" $name true
    done
    docker build -q -t "$(pinned prom/prometheus)" --target prometheus tests/compose/standins
    docker build -q -t "$(pinned postgres)" --target postgresql tests/compose/standins
    build_options=(--network host)
fi

free_port() { "$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
export COMPOSE_PROJECT_NAME=hookline-test-$$
export HOOKLINE_IMAGE=hookline:test-$$
export HOOKLINE_SECRETS=$work/secrets
export HOOKLINE_WORKER=./tests/compose/counter.py
export HOOKLINE_WORKER_COUNT=4
export HOOKLINE_LISTEN=127.0.0.1:$(free_port)
export HOOKLINE_PROMETHEUS_LISTEN=127.0.0.1:$(free_port)
export HOOKLINE_GRAFANA_LISTEN=127.0.0.1:$(free_port)
export HOOKLINE_INGRESS_SUBNET=10.231.78.0/24
if docker compose version >/dev/null 2>&1; then compose="docker compose"; else compose=docker-compose; fi

mkdir "$HOOKLINE_SECRETS"
[ "$(id -u)" -ne 0 ] || chown 4711:4711 "$HOOKLINE_SECRETS"  # as a user would own it
docker build "${build_options[@]+"${build_options[@]}"}" -q -t "$HOOKLINE_IMAGE" .
$compose run --rm setup
[ -z "${HOOKLINE_TEST_HISTORY:-}" ] || printf '\n[history]\nenabled = true\n' >> "$HOOKLINE_SECRETS/hookline.toml"
grafana=grafana
grafana_image=$(sed -n 's|.*:-\(grafana/grafana:[^}]*\)}.*|\1|p' compose.yaml)
docker image inspect "$grafana_image" >/dev/null 2>&1 || docker pull -q "$grafana_image" >/dev/null 2>&1 || grafana=
[ -n "$grafana" ] || echo "compose-test: without Grafana, whose image $grafana_image is not there"
$compose up -d haproxy rooms worker prometheus $grafana
"$python" tests/compose/checks.py "$compose"
