#!/bin/sh
# Installs OpenClaw, tries it out, or removes it.
#
#   ./install.sh                  builds and installs for this machine (as root)
#   ./install.sh --from FILE      installs a program that is built already
#   ./install.sh --prefix DIR     a trial in one directory, without root
#   ./install.sh --demo           builds and serves a demonstration on http://localhost:8080
#   ./install.sh --uninstall      removes the program; configuration, logs and state stay
#
# It may run again at any time: the program is replaced, what belongs to you stays as it is. The new
# program takes the old one's place only when it runs and understands the configuration; if the
# service then does not come up, the old one is put back.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mode=system
from=
prefix=
port=8080

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
usage() { sed -n '2,/^$/{/^#/!d;s/^# \{0,1\}//;p;}' "$0"; }

while [ $# -gt 0 ]; do
    case $1 in
        --from) [ $# -ge 2 ] || fail '--from needs a file'; from=$2; shift ;;
        --from=*) from=${1#*=} ;;
        --prefix) [ $# -ge 2 ] || fail '--prefix needs a directory'; mode=trial; prefix=$2; shift ;;
        --prefix=*) mode=trial; prefix=${1#*=} ;;
        --port) [ $# -ge 2 ] || fail '--port needs a number'; port=$2; shift ;;
        --port=*) port=${1#*=} ;;
        --demo) mode=demo ;;
        --uninstall) mode=uninstall ;;
        -h | --help) usage; exit 0 ;;
        *) fail "unknown option \`$1\`; see ./install.sh --help" ;;
    esac
    shift
done
case $port in
    '' | *[!0-9]*) fail "\`$port\` is not a port" ;;
esac
[ "$(uname -s)" = Linux ] || fail 'OpenClaw runs on Linux'
[ -f "$here/assets/openclaw.conf" ] || fail "\`$here\` is not OpenClaw's directory: assets/ is missing"

# Sets `from` to the program, which is built unless it was given.
find_program() {
    if [ -n "$from" ]; then
        [ -f "$from" ] || fail "there is no file \`$from\`"
        from=$(cd "$(dirname "$from")" && pwd)/$(basename "$from")
    else
        # sudo leaves out what rustup put into the path of the user.
        for home in "${HOME:-}" "$(getent passwd "${SUDO_USER:-root}" 2>/dev/null | cut -d: -f6)"; do
            if [ -x "$home/.cargo/bin/cargo" ]; then
                PATH=$PATH:$home/.cargo/bin
                [ "$home" = "${HOME:-}" ] || export RUSTUP_HOME="$home/.rustup" CARGO_HOME="$home/.cargo"
                break
            fi
        done
        command -v cargo >/dev/null ||
            fail 'cargo is missing: install Rust 1.95 or newer with rustup, or use --from FILE'
        command -v cc >/dev/null ||
            fail 'a linker is missing: apt-get install build-essential, or use --from FILE'
        say 'building, which takes a few minutes the first time'
        (cd "$here" && cargo build --release --locked) || fail 'the build failed, nothing was changed'
        from=${CARGO_TARGET_DIR:-$here/target}/release/openclaw
    fi
    "$from" -v >/dev/null 2>&1 || fail "\`$from\` does not run on this machine"
}

# Puts a file in place whole: whoever opens it meanwhile gets the old one.
put() { # MODE SOURCE TARGET
    install -m "$1" "$2" "$3.new.$$" && mv -f "$3.new.$$" "$3"
}

# The first configuration for one directory: other places, another port, no change of user.
trial_conf() {
    sed -e 's#^user .*#\# Started by root, the program would change to: user openclaw;#' \
        -e 's#/var/log/openclaw/#logs/#' \
        -e 's#/run/openclaw/#logs/#' \
        -e "s#^\( *listen\) 80 #\1 $port #" \
        "$here/assets/openclaw.conf"
}

install_trial() {
    case $prefix in
        '') fail '--prefix needs a directory' ;;
        /*) ;;
        *) prefix=$(pwd)/$prefix ;;
    esac
    find_program
    mkdir -p "$prefix/bin" "$prefix/conf/sites" "$prefix/logs"
    if [ ! -e "$prefix/conf/openclaw.conf" ]; then
        trial_conf >"$prefix/conf/openclaw.conf.new.$$"
        mv "$prefix/conf/openclaw.conf.new.$$" "$prefix/conf/openclaw.conf"
    fi
    [ -e "$prefix/conf/mime.types" ] || put 644 "$here/assets/mime.types" "$prefix/conf/mime.types"
    "$from" -t -q -p "$prefix" ||
        fail "the new program refuses \`$prefix/conf/openclaw.conf\`, the old one stays"
    put 755 "$from" "$prefix/bin/openclaw"
    say "installed in $prefix"
    say "  start   $prefix/bin/openclaw -p $prefix"
    say "  reload  $prefix/bin/openclaw -p $prefix -s reload"
    say "  stop    $prefix/bin/openclaw -p $prefix -s quit"
    say "  remove  rm -r $prefix"
}

demo() {
    find_program
    directory=$(mktemp -d)
    server=
    end() {
        if [ -n "$server" ]; then
            kill -QUIT "$server" 2>/dev/null || true
            wait "$server" || true
        fi
        rm -rf "$directory"
    }
    trap end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    cat >"$directory/openclaw.conf" <<CONF
# Two backends, and a proxy in front of them that shares requests out.
error_log stderr warn;
pid openclaw.pid;
worker_processes 1;
events {
}
http {
    log_format demo '\$remote_addr "\$request" \$status from \$upstream_addr in \$request_time s';

    upstream backends {
        server unix:$directory/one.sock;
        server unix:$directory/two.sock;
    }
    server {
        listen $port;
        access_log /dev/stdout demo;
        location / {
            proxy_pass http://backends;
            proxy_set_header Host \$host;
            proxy_set_header X-Real-IP \$remote_addr;
        }
    }
    server {
        listen unix:$directory/one.sock;
        access_log off;
        default_type text/plain;
        return 200 "backend one got \$request_uri from \$http_x_real_ip through OpenClaw\n";
    }
    server {
        listen unix:$directory/two.sock;
        access_log off;
        default_type text/plain;
        return 200 "backend two got \$request_uri from \$http_x_real_ip through OpenClaw\n";
    }
}
CONF
    [ "$(id -u)" -ne 0 ] || printf 'user root;\n' >>"$directory/openclaw.conf"
    "$from" -p "$directory" --daemon &
    server=$!
    # The pid file is there once every socket is bound.
    while [ ! -s "$directory/openclaw.pid" ]; do
        kill -0 "$server" 2>/dev/null || fail 'the demonstration did not start'
        sleep 0.1
    done
    say "OpenClaw serves http://localhost:$port in front of two backends; Ctrl-C ends it."
    say "Its configuration is $directory/openclaw.conf"
    if command -v curl >/dev/null; then
        for request in 1 2; do
            curl -sS "http://localhost:$port/request/$request" || fail 'the demonstration does not answer'
        done
    fi
    wait "$server"
}

has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "$1 needs root; try sudo, or --prefix DIR for a trial without"
}

make_user() {
    getent passwd openclaw >/dev/null && return
    if command -v useradd >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin openclaw
    else
        addgroup -S openclaw 2>/dev/null || true
        adduser -S -D -H -h /nonexistent -s /sbin/nologin -G openclaw openclaw
    fi
}

install_system() {
    need_root 'installing'
    find_program
    program=/usr/local/bin/openclaw
    conf=/etc/openclaw/openclaw.conf
    make_user
    mkdir -p /usr/local/bin
    install -d -m 755 /etc/openclaw /etc/openclaw/sites
    for directory in /var/log/openclaw /var/cache/openclaw /run/openclaw; do
        install -d -m 750 -o openclaw -g openclaw "$directory"
    done
    chmod 755 /run/openclaw
    install -d -m 700 -o openclaw -g openclaw /var/lib/openclaw
    # It may come to hold secrets.
    [ -e $conf ] || { put 640 "$here/assets/openclaw.conf" $conf && chgrp openclaw $conf; }
    [ -e /etc/openclaw/mime.types ] || put 644 "$here/assets/mime.types" /etc/openclaw/mime.types
    "$from" -t -q -c $conf || fail "the new program refuses $conf, the old one stays"

    old=
    if [ -e $program ]; then
        old=$program.old.$$
        ln -f $program "$old"
    fi
    # Whatever goes wrong from here on: the old program is put back.
    restore() {
        if [ -n "$old" ]; then
            mv -f "$old" $program
            ! has_systemd || systemctl restart openclaw || true
            say 'the old program was put back' >&2
        else
            rm -f $program
        fi
    }
    trap restore EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    put 755 "$from" $program
    if [ -d /etc/logrotate.d ] && [ ! -e /etc/logrotate.d/openclaw ]; then
        cat >/etc/logrotate.d/openclaw <<'ROTATE'
/var/log/openclaw/*.log {
    daily
    rotate 14
    compress
    delaycompress
    missingok
    notifempty
    create 0640 openclaw openclaw
    sharedscripts
    postrotate
        /usr/local/bin/openclaw -c /etc/openclaw/openclaw.conf -s reopen >/dev/null 2>&1 || true
    endscript
}
ROTATE
    fi
    if has_systemd; then
        put 644 "$here/assets/openclaw.service" /etc/systemd/system/openclaw.service
        systemctl daemon-reload
        systemctl enable --quiet openclaw
        if ! systemctl restart openclaw; then
            systemctl --no-pager --lines 5 status openclaw >&2 || true
            fail 'the service does not start, see above; is another program on port 80?'
        fi
    fi
    trap - EXIT INT TERM
    [ -z "$old" ] || rm -f "$old"
    say "installed: $("$program" -v 2>&1)"
    say "  configuration  $conf"
    say "  logs           /var/log/openclaw"
    if has_systemd; then
        say '  service        systemctl status openclaw'
    else
        say "  start          $program -c $conf"
        say "  stop           $program -c $conf -s quit"
    fi
}

uninstall() {
    need_root 'removing'
    if has_systemd && [ -e /etc/systemd/system/openclaw.service ]; then
        systemctl disable --quiet --now openclaw || true
    elif [ -x /usr/local/bin/openclaw ]; then
        /usr/local/bin/openclaw -c /etc/openclaw/openclaw.conf -s quit 2>/dev/null || true
    fi
    rm -f /etc/systemd/system/openclaw.service /etc/logrotate.d/openclaw /usr/local/bin/openclaw
    ! has_systemd || systemctl daemon-reload
    say 'removed; what is yours stays, and goes with:'
    say '  rm -r /etc/openclaw /var/log/openclaw /var/lib/openclaw /var/cache/openclaw && userdel openclaw'
}

case $mode in
    trial) install_trial ;;
    demo) demo ;;
    uninstall) uninstall ;;
    system) install_system ;;
esac
