#!/bin/sh
# Lays out the files of the container image in a directory: the program, the libraries that it is
# linked with, a user, the first configuration, and nothing else; no shell, no package manager.
#
#   assets/image.sh PROGRAM DIRECTORY
set -eu

assets=$(cd "$(dirname "$0")" && pwd)
if [ $# -ne 2 ] || [ ! -f "$1" ] || [ -e "$2" ]; then
    echo 'usage: image.sh PROGRAM DIRECTORY (which must not exist)' >&2
    exit 1
fi
program=$1 root=$2
user=65532

mkdir -p "$root/usr/bin" "$root/etc/openclaw/sites" "$root/etc/ssl/certs" "$root/usr/share" \
    "$root/run/openclaw" "$root/var/lib/openclaw" "$root/var/cache/openclaw" "$root/tmp"
install -m 755 "$program" "$root/usr/bin/openclaw"
# `ldd` lists `name => path (address)`, and the loader as a path alone.
ldd "$program" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
printf 'root:x:0:0::/:/\nopenclaw:x:%s:%s::/var/lib/openclaw:/\n' $user $user >"$root/etc/passwd"
printf 'root:x:0:\nopenclaw:x:%s:\n' $user >"$root/etc/group"
# Certificates of others, and time zones, where the machine that builds has them.
[ ! -f /etc/ssl/certs/ca-certificates.crt ] ||
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
[ ! -d /usr/share/zoneinfo ] || cp -rL /usr/share/zoneinfo "$root/usr/share/"
# Logs go to the output of the container.
sed -e 's#/var/log/openclaw/access.log#/dev/stdout#' \
    -e 's#^error_log .*#error_log stderr warn;#' \
    "$assets/openclaw.conf" >"$root/etc/openclaw/openclaw.conf"
install -m 644 "$assets/mime.types" "$root/etc/openclaw/mime.types"
chown -R $user:$user "$root/etc/openclaw" "$root/run/openclaw" "$root/var/lib/openclaw" \
    "$root/var/cache/openclaw"
chmod 1777 "$root/tmp"
