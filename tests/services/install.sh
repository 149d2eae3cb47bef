#!/bin/sh
# Installs what the tests start: RabbitMQ, Redis, PostgreSQL, PgBouncer, HAProxy, nginx, curl and openssl, unless they
# are there. Quick when they are. The machine's own default services are not started, and PostgreSQL makes no default
# cluster.
set -eu
here=$(dirname "$0")

have() { command -v "$1" >/dev/null 2>&1; }

have_rabbitmq() {
    if [ -n "${HOOKLINE_TEST_RABBITMQ_PROGRAMS:-}" ]; then # the tests start these, and fail where they are missing
        return 0
    fi
    for folder in /usr/lib/rabbitmq/bin /opt/homebrew/opt/rabbitmq/sbin /usr/local/opt/rabbitmq/sbin; do
        [ -x "$folder/rabbitmq-server" ] && return 0
    done
    have rabbitmq-server
}

have_postgresql() {
    for folder in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        [ -x "$folder/initdb" ] && return 0
    done
    have initdb
}

missing() { # as packages.sh wants them, one a line
    have_rabbitmq || echo rabbitmq-server:rabbitmq
    have redis-server || echo redis-server:redis
    have_postgresql || echo postgresql:postgresql@17
    have pgbouncer || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
    have haproxy || [ -x /usr/sbin/haproxy ] || echo haproxy
    have nginx || [ -x /usr/sbin/nginx ] || echo nginx-light:nginx
    have curl || echo curl
    have openssl || echo openssl
}

if [ -n "$(missing)" ]; then
    sh "$here/packages.sh" $(missing)
fi
[ -z "$(missing)" ] || { echo "Installed, but not where it is looked for:" $(missing) >&2; exit 1; }
echo "RabbitMQ, Redis, PostgreSQL, PgBouncer, HAProxy, nginx, curl and openssl are installed."
