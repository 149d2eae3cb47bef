#!/bin/sh
# Installs the servers that the tests start for themselves: RabbitMQ, unless it is there. Quick when it is.
# The machine's own default node is not started.
set -eu

have_rabbitmq() {
    for place in /usr/lib/rabbitmq/bin /opt/homebrew/opt/rabbitmq/sbin /usr/local/opt/rabbitmq/sbin; do
        [ -x "$place/rabbitmq-server" ] && return 0
    done
    command -v rabbitmq-server >/dev/null 2>&1
}

if have_rabbitmq; then
    echo "RabbitMQ is installed."
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "RabbitMQ is missing. Run as root: apt-get install rabbitmq-server" >&2
        exit 1
    fi
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then # what Debian asks before it starts a service that it has just installed
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
        trap '$as_root rm -f "$policy"' EXIT
    fi
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet rabbitmq
else
    echo "RabbitMQ is missing, and there is neither apt-get nor brew to install it with." >&2
    exit 1
fi

have_rabbitmq || { echo "RabbitMQ was installed, but rabbitmq-server is not where it is looked for." >&2; exit 1; }
echo "RabbitMQ is installed now."
