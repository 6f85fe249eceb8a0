#!/bin/sh
# Installs OpenClaw, upgrades it, tries it out, or removes it: `./install.sh --help`.
#
# It may run again at any time. The new program takes the old one's place only when it runs and
# understands the configuration; if the service then does not come up, the old one is put back.
# Everything is a function and the last line calls it: a script that arrives through a pipe and
# breaks off does nothing.
set -eu

usage() {
    cat <<'USAGE'
Installs OpenClaw, upgrades it, tries it out, or removes it.

  sudo ./install.sh                  installs for this machine: the program that lies beside this
                                     script in a release, or else one built from these sources
  sudo ./install.sh --from WHAT      installs a release, or a program that is built already
  ./install.sh --prefix DIR          a trial in one directory, without root
  ./install.sh --demo                a demonstration on http://localhost:8080
  sudo ./install.sh --uninstall      removes the program; configuration, logs and state stay

  --from FILE.tar.gz | URL           a release; its checksum must stand in FILE.tar.gz.sha256
  --from URL/                        the release for this machine from a directory of releases
  --from PROGRAM                     a program file
  --sha256 SUM                       the checksum that it must have, instead of the one beside it
  --port NUMBER                      where a trial or demonstration listens (8080)
  --agree-tos                        agree to the terms of Let's Encrypt, so that certificates come
  --email ADDRESS                    with --agree-tos: where Let's Encrypt may write to
  --purge                            with --uninstall: everything goes, what is yours too

Through a pipe it needs a release:  curl -fsSL .../install.sh | sudo sh -s -- --from URL
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

work=
undo=
at_exit() {
    status=$?
    trap - EXIT
    if [ -n "$undo" ]; then "$undo"; fi
    if [ -n "$work" ]; then rm -rf "$work"; fi
    exit "$status"
}

main() {
    mode=system from='' sha256='' prefix='' port=8080 uninstall='' purge='' here='' agree='' email=''
    while [ $# -gt 0 ]; do
        option=$1
        case $option in
            --from | --sha256 | --prefix | --port | --email)
                value=${2:-}
                [ -n "$value" ] || fail "$option needs a value"
                shift
                ;;
            --from=* | --sha256=* | --prefix=* | --port=* | --email=*)
                value=${option#*=}
                option=${option%%=*}
                [ -n "$value" ] || fail "$option needs a value"
                ;;
        esac
        case $option in
            --from) from=$value ;;
            --sha256) sha256=$value ;;
            --prefix) mode=trial prefix=$value ;;
            --port) port=$value ;;
            --agree-tos) agree=yes ;;
            --email) email=$value ;;
            --demo) mode=demo ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            -h | --help) usage; exit 0 ;;
            *) fail "unknown option \`$option\`; see --help" ;;
        esac
        shift
    done
    case $port in
        '' | *[!0-9]*) fail "\`$port\` is not a port" ;;
    esac
    [ -z "$purge" ] || [ -n "$uninstall" ] || fail '--purge goes with --uninstall'
    [ -z "$email" ] || [ -n "$agree" ] || fail '--email goes with --agree-tos'
    [ -z "$sha256" ] || [ -n "$from" ] || fail '--sha256 goes with --from'
    case $prefix in
        '' | /*) ;;
        *) prefix=$(pwd)/$prefix ;;
    esac
    [ "$(uname -s)" = Linux ] || fail 'OpenClaw runs on Linux'
    # Through a pipe, `$0` is the name of the shell.
    case $0 in
        *install.sh) [ ! -f "$0" ] || here=$(cd "$(dirname "$0")" && pwd) ;;
    esac
    trap at_exit EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    case $uninstall$mode in
        yestrial) uninstall_trial ;;
        yes*) uninstall_system ;;
        trial) install_trial ;;
        demo) demo ;;
        *) install_system ;;
    esac
}

# --- where the program comes from -------------------------------------------------------------

# Sets `program`, and `assets`, the directory of what belongs to it.
obtain() {
    work=$(mktemp -d)
    assets=$here/assets
    case $from in
        '')
            if [ -n "$here" ] && [ -f "$here/openclaw" ]; then
                program=$here/openclaw
            elif [ -n "$here" ] && [ -f "$here/Cargo.toml" ]; then
                build
            else
                fail 'there is neither a program nor its sources here; name a release: --from URL or --from FILE.tar.gz'
            fi
            ;;
        http://* | https://*)
            case $from in
                */) from=${from}openclaw-linux-$(architecture).tar.gz ;;
            esac
            say "loading $from"
            download "$from" "$work/release.tar.gz" || fail "\`$from\` cannot be loaded"
            if [ -z "$sha256" ]; then
                download "$from.sha256" "$work/release.tar.gz.sha256" ||
                    fail "there is no checksum \`$from.sha256\`; name one with --sha256"
            fi
            unpack "$work/release.tar.gz"
            ;;
        *.tar.gz | *.tgz)
            [ -f "$from" ] || fail "there is no file \`$from\`"
            unpack "$from"
            ;;
        *)
            [ -f "$from" ] || fail "there is no file \`$from\`"
            [ -z "$sha256" ] || verify "$from"
            program=$from
            ;;
    esac
    [ -f "$assets/openclaw.conf" ] ||
        fail "assets/ is missing beside this script; name a release: --from URL or --from FILE.tar.gz"
}

# As in the names of releases.
architecture() {
    case $(uname -m) in
        x86_64 | amd64) echo x86_64 ;;
        aarch64 | arm64)
            # Raspberry Pi OS of 32 bits may run on a kernel of 64.
            if [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then echo armv7; else echo aarch64; fi
            ;;
        armv7* | armv8*) echo armv7 ;;
        *) uname -m ;;
    esac
}

download() { # URL FILE
    if has curl; then
        curl -fsSL --connect-timeout 20 --retry 2 -o "$2" "$1"
    elif has wget; then
        wget -q -T 20 -O "$2" "$1"
    else
        fail 'neither curl nor wget is there: apt-get install curl'
    fi
}

# A file is taken only with the checksum that was said on the command line or that lies beside it.
verify() { # FILE
    wanted=$sha256
    if [ -z "$wanted" ]; then
        [ -f "$1.sha256" ] || fail "there is no checksum \`$1.sha256\`; name one with --sha256"
        read -r wanted _ <"$1.sha256" || [ -n "$wanted" ] || fail "\`$1.sha256\` is empty"
    fi
    wanted=$(printf %s "$wanted" | tr ABCDEF abcdef)
    has sha256sum || fail 'sha256sum is missing: apt-get install coreutils'
    found=$(sha256sum <"$1")
    found=${found%% *}
    [ "$found" = "$wanted" ] ||
        fail "the checksum of \`$1\` is wrong, nothing was changed (it is $found, it must be $wanted)"
}

unpack() { # FILE
    verify "$1"
    mkdir "$work/release"
    tar -xzof "$1" -C "$work/release" || fail "\`$1\` cannot be unpacked"
    for program in "$work"/release/*/openclaw; do
        [ -f "$program" ] || fail "\`$1\` is no release of OpenClaw"
    done
    assets=$(dirname "$program")/assets
}

# Sets `program` to one that is built here from the sources.
build() {
    needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\)".*/\1/p' "$here/Cargo.toml")
    find_cargo || { install_cargo && find_cargo; } ||
        fail "Rust 1.$needed or newer is missing, $(how_to_get_rust), or name a release with --from"
    if ! has cc && is_root && has apt-get; then
        apt_install gcc libc6-dev || true
    fi
    has cc || fail 'a C compiler is missing: apt-get install gcc libc6-dev'
    memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    set -- --locked --manifest-path "$here/Cargo.toml"
    if [ "${memory:-9999999}" -lt 2097152 ]; then
        profile=small-host
        set -- "$@" --profile $profile -j1
        [ "$memory" -ge 1000000 ] ||
            say 'this machine has less than 1 GB of memory: without swap the build may fail; --from takes a release'
    else
        profile=release
        set -- "$@" --release
    fi
    say 'building, which takes a few minutes on a PC and an hour or more on a small board'
    # What is built in somebody's directory stays theirs.
    if is_root && [ "${SUDO_USER:-root}" != root ] && [ ! -O "$here" ]; then
        set -- sudo -u "$SUDO_USER" -H env "PATH=$PATH" "$cargo" build "$@"
    else
        set -- "$cargo" build "$@"
    fi
    (cd "$here" && "$@") || fail 'the build failed, nothing was changed'
    program=${CARGO_TARGET_DIR:-$here/target}/$profile/openclaw
}

# Sets `cargo` to one that is new enough. sudo leaves out what rustup put into the path of the user.
find_cargo() {
    user_home=$(getent passwd "${SUDO_USER:-root}" 2>/dev/null | cut -d: -f6)
    for cargo in cargo "${HOME:-/root}/.cargo/bin/cargo" "$user_home/.cargo/bin/cargo"; do
        has "$cargo" || continue
        if [ "$cargo" = "$user_home/.cargo/bin/cargo" ] && [ "$user_home" != "${HOME:-}" ] && [ -O "$here" ]; then
            export RUSTUP_HOME="$user_home/.rustup" CARGO_HOME="$user_home/.cargo"
        fi
        minor=$("$cargo" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
        if [ "${minor:-0}" -ge "${needed:-0}" ]; then
            PATH=$PATH:$(dirname "$(command -v "$cargo")")
            return 0
        fi
    done
    return 1
}

apt_install() {
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
}

how_to_get_rust() {
    if has apt-get; then
        echo 'install it with "apt-get install rustc-web cargo-web gcc libc6-dev" (Debian 12) or from https://rustup.rs'
    else
        echo 'install it from https://rustup.rs'
    fi
}

# Debian 12 and Raspberry Pi OS 12 have a new Rust for their browsers; elsewhere rustup brings it.
install_cargo() {
    if is_root && has apt-get; then
        apt-get update >/dev/null || true
        minor=$(apt-cache policy cargo-web 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)*1\.\([0-9]*\)\..*/\2/p')
        if [ "${minor:-0}" -ge "$needed" ]; then
            apt_install rustc-web cargo-web gcc libc6-dev
            return
        fi
    fi
    download https://sh.rustup.rs "$work/rustup.sh" 2>/dev/null || return 1
    say 'installing Rust with rustup'
    sh "$work/rustup.sh" -y --profile minimal --no-modify-path >/dev/null
}

# --- putting it in place ----------------------------------------------------------------------

# Puts a file in place whole: whoever opens it meanwhile gets the old one.
put() { # MODE SOURCE TARGET
    install -m "$1" "$2" "$3.new.$$" && mv -f "$3.new.$$" "$3"
}

# Lays the new program beside the old one and looks whether it runs here.
stage() { # TARGET
    staged=$1.new.$$
    install -m 755 "$program" "$staged"
    if ! "$staged" -v >/dev/null 2>&1; then
        rm -f "$staged"
        fail "the program does not run on this machine ($(architecture)), nothing was changed"
    fi
}

# The first configuration for one directory: other places, another port, no change of user.
trial_conf() {
    sed -e 's#^user .*#\# Started by root, the program would change to: user openclaw;#' \
        -e 's#/var/log/openclaw/#logs/#' \
        -e 's#/run/openclaw/#logs/#' \
        -e 's#/var/cache/openclaw/#cache/#' \
        -e "s#^\( *listen\) 80 #\1 $port #" \
        "$assets/openclaw.conf"
}

install_trial() {
    obtain
    mkdir -p "$prefix/bin" "$prefix/conf/sites" "$prefix/logs"
    stage "$prefix/bin/openclaw"
    if [ ! -e "$prefix/conf/openclaw.conf" ]; then
        trial_conf >"$prefix/conf/openclaw.conf.new.$$"
        mv "$prefix/conf/openclaw.conf.new.$$" "$prefix/conf/openclaw.conf"
    fi
    [ -e "$prefix/conf/mime.types" ] || put 644 "$assets/mime.types" "$prefix/conf/mime.types"
    if ! "$staged" -t -q -p "$prefix"; then
        rm -f "$staged"
        fail "the new program refuses \`$prefix/conf/openclaw.conf\`, the old one stays"
    fi
    mv -f "$staged" "$prefix/bin/openclaw"
    say "installed in $prefix: $("$prefix/bin/openclaw" -v 2>&1)"
    say "  start   $prefix/bin/openclaw -p $prefix --daemon"
    say "  see     http://localhost:$port/, unless its configuration says otherwise"
    say "  reload  $prefix/bin/openclaw -p $prefix -s reload"
    say "  stop    $prefix/bin/openclaw -p $prefix -s quit"
    say "  remove  install.sh --prefix $prefix --uninstall --purge"
}

uninstall_trial() {
    [ -f "$prefix/bin/openclaw" ] || [ -f "$prefix/conf/openclaw.conf" ] ||
        fail "there is no OpenClaw in \`$prefix\`"
    [ ! -x "$prefix/bin/openclaw" ] || "$prefix/bin/openclaw" -p "$prefix" -s quit 2>/dev/null || true
    rm -f "$prefix/bin/openclaw"
    rmdir "$prefix/bin" 2>/dev/null || true
    if [ -z "$purge" ]; then
        say "removed; what is yours stays in $prefix"
        return
    fi
    # Only what was put there: the directory may be somebody's home.
    rm -rf "$prefix/conf" "$prefix/logs" "$prefix/cache" "$prefix/state"
    rmdir "$prefix" 2>/dev/null || say "there is more in $prefix, which stays"
    say 'removed'
}

has_systemd() { [ -d /run/systemd/system ] && has systemctl; }

need_root() {
    is_root || fail "$1 needs root; try sudo, or --prefix DIR for a trial without"
}

make_user() {
    getent passwd openclaw >/dev/null && return
    if has useradd; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin openclaw
    else
        addgroup -S openclaw 2>/dev/null || true
        adduser -S -D -H -h /nonexistent -s /sbin/nologin -G openclaw openclaw
    fi
}

# Does something as the service. The configuration belongs to it, because the dashboard edits it;
# so whoever has taken over the service could lay traps in it for root: root does not read it, and
# does not write into its directory.
as_service() {
    if has runuser; then
        runuser -u openclaw -- "$@"
    else
        # shellcheck disable=SC2016 # the inner shell expands it
        su -s /bin/sh openclaw -c '"$0" "$@"' "$@"
    fi
}

# Writes standard input to a new file of the service.
put_as_service() { # MODE TARGET
    # shellcheck disable=SC2016 # the inner shell expands it
    as_service sh -c 'umask 027 && cat >"$1.new" && chmod "$0" "$1.new" && mv "$1.new" "$1"' "$1" "$2"
}

# Prints the first configuration of the machine; where there is IPv6 it is served too.
first_conf() {
    ipv6=0
    [ ! -s /proc/net/if_inet6 ] || ipv6=1
    awk -v ipv6=$ipv6 '{ print }
        ipv6 && /^ *listen 80 default_server;/ { sub("80", "[::]:80"); print }' "$assets/openclaw.conf"
}

bin=/usr/local/bin/openclaw
unit=/etc/systemd/system/openclaw.service
conf=/etc/openclaw/openclaw.conf

install_system() {
    need_root 'installing'
    if has dpkg-query && dpkg-query -W -f '${db:Status-Status}' openclaw-proxy 2>/dev/null | grep -qx installed; then
        fail 'the package openclaw-proxy is installed; upgrade it, or remove it first: apt-get remove openclaw-proxy'
    fi
    obtain
    mkdir -p /usr/local/bin
    stage $bin
    undo=unstage
    make_user
    [ -e /etc/openclaw ] || install -d -m 750 -o openclaw -g openclaw /etc/openclaw
    for directory in /var/log/openclaw /var/cache/openclaw /run/openclaw; do
        [ -e $directory ] || install -d -m 750 -o openclaw -g openclaw $directory
    done
    chmod 755 /run/openclaw
    [ -e /var/lib/openclaw ] || install -d -m 700 -o openclaw -g openclaw /var/lib/openclaw
    is_first=
    if [ ! -e $conf ]; then
        is_first=yes
        first_conf | put_as_service 640 $conf
    fi
    [ -e /etc/openclaw/sites ] || as_service mkdir -m 750 /etc/openclaw/sites
    [ -e /etc/openclaw/mime.types ] || put_as_service 640 /etc/openclaw/mime.types <"$assets/mime.types"
    as_service "$staged" -t -q -c $conf || fail "the new program refuses $conf, the old one stays"

    # Whatever goes wrong from here on: the old program is put back.
    if [ -e $bin ]; then ln -f $bin $bin.old.$$; fi
    if [ -e $unit ]; then cp -p $unit "$work/unit.old"; fi
    undo=restore
    mv -f "$staged" $bin
    if [ -d /etc/logrotate.d ] && [ ! -e /etc/logrotate.d/openclaw ]; then
        put 644 "$assets/openclaw.logrotate" /etc/logrotate.d/openclaw
    fi
    if has_systemd; then
        put 644 "$assets/openclaw.service" $unit
        systemctl daemon-reload
        systemctl enable --quiet openclaw
        start_service
    fi
    undo=
    rm -f $bin.old.$$
    put_manual
    agree_to_terms
    tell_next_step
}

# Somebody has to agree before the first certificate; whoever is at the terminal is asked once.
agree_to_terms() {
    if [ -z "$agree" ] && [ -n "$is_first" ] && [ -t 0 ] && [ -t 1 ]; then
        say "Certificates for your domains come from Let's Encrypt. Its terms: https://letsencrypt.org/repository/"
        printf 'Do you agree to them? [y/N] '
        read -r answer || answer=
        case $answer in
            [Yy]*)
                agree=yes
                printf 'An address that it may write to when something is wrong (may be empty): '
                read -r email || email=
                ;;
            *) say 'Then the dashboard asks when a certificate is wanted.' ;;
        esac
    fi
    [ -n "$agree" ] || return 0
    if ! has_systemd; then
        say "once it runs, agree with: $bin cert agree --yes${email:+ --email $email}"
    elif ! $bin cert agree --yes ${email:+--email "$email"}; then
        say 'the agreement could not be kept; the dashboard asks for it again'
    fi
}

unstage() { rm -f "$staged"; }

restore() {
    rm -f "$staged"
    if [ -e $bin.old.$$ ]; then
        mv -f $bin.old.$$ $bin
        if has_systemd; then
            [ ! -e "$work/unit.old" ] || put 644 "$work/unit.old" $unit
            systemctl daemon-reload
            systemctl reset-failed openclaw 2>/dev/null || true
            systemctl restart openclaw ||
                say 'the old program does not start either: journalctl -u openclaw' >&2
        fi
        say 'the old program was put back' >&2
    elif has_systemd && [ -e $unit ]; then
        systemctl stop openclaw 2>/dev/null || true
        say "the program is installed but does not run; when the cause is gone: systemctl start openclaw" >&2
    fi
}

# Starts the new program, or changes to it: the old one finishes what runs, and new connections
# wait in its sockets, which the service manager holds meanwhile. Only a program that serves, and
# still does a moment later, is taken for good.
start_service() {
    if ! systemctl restart openclaw 2>/dev/null; then
        tell_why
        tell_who_listens
        fail 'the service does not start, see above'
    fi
    main=$(systemctl show -p MainPID --value openclaw)
    for _ in 1 2 3 4 5 6 7 8; do
        sleep 0.25
        if ! systemctl is-active --quiet openclaw ||
            [ "$(systemctl show -p MainPID --value openclaw)" != "$main" ]; then
            tell_why
            fail 'the service started and ended again, see above'
        fi
    done
    # The page of the first configuration is known, so it can be asked for.
    if [ -n "$is_first" ] && has curl; then
        curl -fsS -o /dev/null --max-time 10 --noproxy '*' http://127.0.0.1/ ||
            fail 'the service runs but does not answer on http://127.0.0.1/'
    fi
}

# What the service said last.
tell_why() {
    # The journal takes a moment to have it.
    sleep 1
    journalctl --no-pager --quiet --output cat --lines 12 --unit openclaw 2>/dev/null |
        grep '\[emerg\]\|\[alert\]\|hint:' | sort -u >&2 || systemctl --no-pager status openclaw >&2 || true
}

# A port that is taken is what keeps a first start from working most often.
tell_who_listens() {
    has ss || return 0
    others=$(ss -Hltnp 'sport = :80' 2>/dev/null | grep -v 'openclaw\|"systemd"') || return 0
    say 'on port 80 another program listens:' >&2
    say "$others" >&2
    say "stop it, or change the \`listen\` lines of $conf" >&2
}

# The manual page and the completions come from the program itself.
put_manual() {
    if $bin man >"$work/openclaw.8" 2>/dev/null && [ -s "$work/openclaw.8" ]; then
        mkdir -p /usr/local/share/man/man8
        put 644 "$work/openclaw.8" /usr/local/share/man/man8/openclaw.8
    fi
    for shell in bash zsh fish; do
        file=$(completion_file $shell)
        if $bin completions $shell >"$work/completions" 2>/dev/null && [ -s "$work/completions" ]; then
            mkdir -p "$(dirname "$file")"
            put 644 "$work/completions" "$file"
        fi
    done
}

completion_file() { # SHELL
    case $1 in
        bash) echo /usr/local/share/bash-completion/completions/openclaw ;;
        zsh) echo /usr/local/share/zsh/site-functions/_openclaw ;;
        fish) echo /usr/local/share/fish/vendor_completions.d/openclaw.fish ;;
    esac
}

tell_next_step() {
    say "installed: $($bin -v 2>&1)"
    say "  configuration  $conf"
    say '  logs           /var/log/openclaw'
    if has_systemd; then
        say "  service        systemctl status openclaw: $(systemctl show -p StatusText --value openclaw)"
    else
        say '  there is no systemd here, so it does not run yet:'
        say '  once a boot    install -d -o openclaw -g openclaw /run/openclaw'
        if has setpriv; then
            say '  start          setpriv --reuid openclaw --regid openclaw --init-groups --inh-caps +net_bind_service'
            say "                     --ambient-caps +net_bind_service $bin --daemon"
        else
            say "  start          $bin --daemon     (as root: it changes to the user openclaw)"
        fi
        say "  stop           $bin -s quit"
    fi
    if [ -n "$is_first" ]; then
        address=$(hostname -I 2>/dev/null | cut -d' ' -f1)
        case $address in
            '') address=localhost ;;
            *:*) address="[$address]" ;;
        esac
        say "  see it         http://$address/"
    fi
    sudo=
    [ -z "${SUDO_USER:-}" ] || sudo='sudo '
    say "  next           ${sudo}openclaw     opens the dashboard: add a route there with \`a\`"
    # The socket says who may use it.
    if [ -n "${SUDO_USER:-}" ] && [ "$(stat -c %a /run/openclaw/control.sock 2>/dev/null | cut -c2)" = 6 ]; then
        say "                 without sudo after: sudo usermod -aG openclaw $SUDO_USER   (and a new login)"
    fi
}

uninstall_system() {
    need_root 'removing'
    if has_systemd && [ -e $unit ]; then
        systemctl disable --quiet --now openclaw || true
    elif [ -x $bin ] && [ -s /run/openclaw/openclaw.pid ]; then
        $bin -s quit 2>/dev/null || true
    fi
    rm -f $unit /etc/logrotate.d/openclaw $bin /usr/local/share/man/man8/openclaw.8
    for shell in bash zsh fish; do rm -f "$(completion_file $shell)"; done
    ! has_systemd || systemctl daemon-reload
    if [ -n "$purge" ]; then
        rm -rf /etc/openclaw /var/log/openclaw /var/lib/openclaw /var/cache/openclaw /run/openclaw
        if getent passwd openclaw >/dev/null; then userdel openclaw 2>/dev/null || deluser openclaw || true; fi
        say 'removed, with configuration, logs, state and user'
    else
        say 'removed; what is yours stays, and goes with --uninstall --purge:'
        say '  /etc/openclaw /var/log/openclaw /var/lib/openclaw /var/cache/openclaw and the user openclaw'
    fi
}

# --- a demonstration ---------------------------------------------------------------------------

demo() {
    obtain
    directory=$work/demo
    mkdir -m 755 "$directory"
    chmod 755 "$work"
    server=
    undo=end_demo
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
    ! is_root || printf 'user root;\n' >>"$directory/openclaw.conf"
    "$program" -p "$directory" --daemon &
    server=$!
    # The pid file is there once every socket is bound.
    while [ ! -s "$directory/openclaw.pid" ]; do
        kill -0 "$server" 2>/dev/null || fail 'the demonstration did not start'
        sleep 0.1
    done
    say "OpenClaw serves http://localhost:$port in front of two backends; Ctrl-C ends it."
    say "Its configuration is $directory/openclaw.conf"
    if has curl; then
        for request in 1 2; do
            curl -sS --noproxy '*' "http://localhost:$port/request/$request" ||
                fail 'the demonstration does not answer'
        done
    fi
    wait "$server"
}

end_demo() {
    if [ -n "$server" ]; then
        kill -QUIT "$server" 2>/dev/null || true
        wait "$server" || true
    fi
}

main "$@"
