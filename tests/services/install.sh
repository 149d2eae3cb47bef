#!/bin/sh
# Installs the servers that the tests start for themselves: RabbitMQ, Redis and PostgreSQL, unless they are there. Quick
# when they are. The machine's own default services are not started, and PostgreSQL makes no default cluster.
set -eu

have_rabbitmq() {
    for place in /usr/lib/rabbitmq/bin /opt/homebrew/opt/rabbitmq/sbin /usr/local/opt/rabbitmq/sbin; do
        [ -x "$place/rabbitmq-server" ] && return 0
    done
    command -v rabbitmq-server >/dev/null 2>&1
}

have_redis() {
    command -v redis-server >/dev/null 2>&1
}

have_postgresql() {
    for place in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        [ -x "$place/initdb" ] && return 0
    done
    command -v initdb >/dev/null 2>&1
}

missing() { # in the words of the package manager: apt or brew
    have_rabbitmq || case "$1" in apt) echo rabbitmq-server ;; brew) echo rabbitmq ;; esac
    have_redis || case "$1" in apt) echo redis-server ;; brew) echo redis ;; esac
    have_postgresql || case "$1" in apt) echo postgresql ;; brew) echo postgresql@17 ;; esac
}

# One word a line, made into one line.
apt_packages=$(missing apt | tr '\n' ' ')
if [ -z "$apt_packages" ]; then
    echo "RabbitMQ, Redis and PostgreSQL are installed."
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "Servers are missing. Run as root: apt-get install $apt_packages" >&2
        exit 1
    fi
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then # what Debian asks before it starts a service that it has just installed
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
        trap '$as_root rm -f "$policy"' EXIT
    fi
    clusters=/etc/postgresql-common/createcluster.conf
    if [ ! -e "$clusters" ]; then # read by the package when it is installed
        $as_root mkdir -p "$(dirname "$clusters")"
        echo "create_main_cluster = false" | $as_root tee "$clusters" >/dev/null
    fi
    $as_root apt-get update -qq
    # An existing createcluster.conf is kept without asking. The list is words: unquoted.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold $apt_packages >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet $(missing brew)
else
    echo "Missing: $apt_packages, and there is neither apt-get nor brew to install it with." >&2
    exit 1
fi

left=$(missing apt | tr '\n' ' ')
[ -z "$left" ] || { echo "Installed, but not where it is looked for: $left" >&2; exit 1; }
echo "RabbitMQ, Redis and PostgreSQL are installed now."
