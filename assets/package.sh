#!/bin/sh
# Makes what is given to people, in one directory (dist/ unless named):
#
#   openclaw-linux-ARCH.tar.gz               the program, install.sh, assets/, README.md, LICENSE
#   openclaw-linux-ARCH.tar.gz.sha256        its checksum, which install.sh asks for
#   openclaw-proxy_VERSION_DEBARCH.deb       the Debian package, where dpkg-deb is there
#
#   assets/package.sh [--program FILE] [--arch x86_64|aarch64|armv7] [--out DIR]
#
# Without --program it is built here with the profile `dist`. For another machine it is built there,
# or with a linker and a C compiler for it and `cargo build --profile dist --locked --target
# aarch64-unknown-linux-gnu` (armv7-unknown-linux-gnueabihf), and named with --program and --arch;
# its manual page and completions are missing then, which install.sh makes from the program.
#
# The same inputs give the same bytes: times come from SOURCE_DATE_EPOCH or else from the last commit.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
fail() {
    printf 'package.sh: %s\n' "$*" >&2
    exit 1
}

program='' arch=$(uname -m) out=$root/dist
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --program) program=$2 ;;
        --arch) arch=$2 ;;
        --out) out=$2 ;;
        *) fail "unknown option \`$1\`" ;;
    esac
    shift 2
done
case $arch in
    x86_64) debian=amd64 ;;
    aarch64) debian=arm64 ;;
    armv7 | armv7l) arch=armv7 debian=armhf ;;
    *) fail "there are no releases for \`$arch\`" ;;
esac
if [ -z "$program" ]; then
    (cd "$root" && cargo build --profile dist --locked)
    program=${CARGO_TARGET_DIR:-$root/target}/dist/openclaw
fi
[ -f "$program" ] || fail "there is no file \`$program\`"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
time=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A program for this machine can be asked for its manual page and its completions.
manual=$work/openclaw.8
"$program" man >"$manual" 2>/dev/null || rm -f "$manual"
for shell in bash zsh fish; do
    "$program" completions $shell >"$work/completions.$shell" 2>/dev/null || rm -f "$work/completions.$shell"
done

# --- the release
name=openclaw-$version-linux-$arch
top=$work/release/$name
mkdir -p "$top/assets"
install -m 755 "$program" "$top/openclaw"
install -m 755 "$root/install.sh" "$top/install.sh"
install -m 644 "$root/README.md" "$root/LICENSE" "$top/"
for file in openclaw.conf mime.types openclaw.service openclaw.socket openclaw.logrotate \
    grafana-dashboard.json compose.yaml; do
    install -m 644 "$root/assets/$file" "$top/assets/$file"
done
[ ! -s "$manual" ] || install -m 644 "$manual" "$top/assets/openclaw.8"
tarball=openclaw-linux-$arch.tar.gz
(cd "$work/release" &&
    tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=ustar -cf - "$name") |
    gzip -9n >"$out/$tarball.new"
mv "$out/$tarball.new" "$out/$tarball"
(cd "$out" && sha256sum "$tarball" >"$tarball.sha256")
printf '%s\n' "$out/$tarball" "$out/$tarball.sha256"

# --- the Debian package
command -v dpkg-deb >/dev/null || fail 'dpkg-deb is missing, so there is no Debian package'
tree=$work/deb
put() { # MODE SOURCE TARGET
    mkdir -p "$(dirname "$tree$3")"
    install -m "$1" "$2" "$tree$3"
}
put 755 "$program" /usr/bin/openclaw
for unit in openclaw.service openclaw.socket; do
    sed 's#/usr/local/bin/#/usr/bin/#' "$root/assets/$unit" >"$work/$unit"
    put 644 "$work/$unit" /usr/lib/systemd/system/$unit
done
sed 's#/usr/local/bin/#/usr/bin/#' "$root/assets/openclaw.logrotate" >"$work/logrotate"
put 644 "$work/logrotate" /etc/logrotate.d/openclaw
put 644 "$root/assets/openclaw.conf" /usr/share/openclaw/openclaw.conf
put 644 "$root/assets/mime.types" /usr/share/openclaw/mime.types
put 644 "$root/assets/grafana-dashboard.json" /usr/share/openclaw/grafana-dashboard.json
put 644 "$root/assets/deb/sysusers.conf" /usr/lib/sysusers.d/openclaw.conf
put 644 "$root/assets/deb/copyright" /usr/share/doc/openclaw-proxy/copyright
put 644 "$root/README.md" /usr/share/doc/openclaw-proxy/README.md
maintainer="${DEBFULLNAME:-The OpenClaw authors} <${DEBEMAIL:-openclaw@localhost}>"
printf 'openclaw-proxy (%s) stable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$(date -u -R -d "@$time")" | gzip -9n >"$work/changelog.gz"
put 644 "$work/changelog.gz" /usr/share/doc/openclaw-proxy/changelog.gz
if [ -s "$manual" ]; then
    gzip -9n "$manual"
    put 644 "$manual.gz" /usr/share/man/man8/openclaw.8.gz
fi
put_completions() { # SHELL TARGET
    if [ -s "$work/completions.$1" ]; then put 644 "$work/completions.$1" "$2"; fi
}
put_completions bash /usr/share/bash-completion/completions/openclaw
put_completions zsh /usr/share/zsh/vendor-completions/_openclaw
put_completions fish /usr/share/fish/vendor_completions.d/openclaw.fish

# The C library that the program was built against is the oldest that it runs with.
library=$(grep -aoE 'GLIBC_2\.[0-9]+' "$program" | sort -uV | tail -n 1 | cut -d_ -f2)
depends="libc6 (>= $library), libgcc-s1"
mkdir -p "$tree/DEBIAN"
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$debian|" -e "s|@DEPENDS@|$depends|" \
    -e "s|@MAINTAINER@|$maintainer|" -e "s|@SIZE@|$(du -sk "$tree" | cut -f1)|" \
    "$root/assets/deb/control" >"$tree/DEBIAN/control"
# A static program needs no library.
[ -n "$library" ] || sed -i '/^Depends: /d' "$tree/DEBIAN/control"
echo /etc/logrotate.d/openclaw >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$root/assets/deb/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr etc -type f | LC_ALL=C sort | xargs md5sum) >"$tree/DEBIAN/md5sums"
chmod 644 "$tree/DEBIAN/md5sums" "$tree/DEBIAN/conffiles" "$tree/DEBIAN/control"
find "$tree" -type d -exec chmod 755 {} +
package=openclaw-proxy_${version}_$debian.deb
SOURCE_DATE_EPOCH=$time dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/$package" >/dev/null
printf '%s\n' "$out/$package"
