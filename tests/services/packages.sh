#!/bin/sh
# Installs packages with apt-get or brew: packages.sh APT[:BREW]… where BREW is the name there, if it is another.
# Uses sudo where this is not root. Services that come with a package do not start, and PostgreSQL makes no cluster.
set -eu

apt_names() { for package in "$@"; do echo "${package%%:*}"; done; }
brew_names() { for package in "$@"; do echo "${package#*:}"; done; }

set_as_root() { # the words before a command that root runs
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    elif [ -t 0 ] && command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        echo "Packages are missing. Run as root: apt-get install $1" >&2
        exit 1
    fi
}

keep_services_from_starting() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then # Debian asks this script before it starts a service that it has just installed
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
        trap '$as_root rm -f "$policy"' EXIT
    fi
    clusters=/etc/postgresql-common/createcluster.conf
    case " $* " in *" postgresql "*)
        if [ ! -e "$clusters" ]; then # the package reads it when it is installed
            $as_root mkdir -p "$(dirname "$clusters")"
            echo "create_main_cluster = false" | $as_root tee "$clusters" >/dev/null
        fi ;;
    esac
}

install_with_apt() {
    set_as_root "$*"
    keep_services_from_starting "$@"
    $as_root apt-get update -qq
    # An existing configuration file is kept without asking.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$@" >/dev/null
}

if command -v apt-get >/dev/null 2>&1; then
    install_with_apt $(apt_names "$@")
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet $(brew_names "$@")
else
    echo "Missing: $(apt_names "$@" | tr '\n' ' ')and there is neither apt-get nor brew to install it with." >&2
    exit 1
fi
