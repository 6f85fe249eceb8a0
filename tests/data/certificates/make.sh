#!/bin/sh
# Makes every file of this directory anew, with the openssl of OpenSSL 3. The tests pass the time in,
# so that nothing here runs out; whoever runs this may have to change the numbers the tests expect.
set -eu
cd "$(dirname "$0")"
find . -type f ! -name make.sh -delete
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
quiet() { "$@" 2>>"$work/log" || { cat "$work/log" >&2; exit 1; }; }

# A certificate authority, what it signs with, and the certificate of a server.
ec() { quiet openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
sign() { # name, subject, issuer, days, extensions
    printf '%s\n' "$5" >"$work/extensions"
    quiet openssl req -new -key "$work/$1.key" -subj "$2" -utf8 -out "$work/$1.csr"
    quiet openssl x509 -req -in "$work/$1.csr" -CA "$work/$3.pem" -CAkey "$work/$3.key" \
        -CAcreateserial -days "$4" -sha256 -extfile "$work/extensions" -out "$work/$1.pem"
}
for name in root intermediate leaf other; do ec "$work/$name.key"; done
quiet openssl req -x509 -new -key "$work/root.key" -subj '/O=Workshop/CN=Workshop Root' -days 7300 \
    -addext keyUsage=critical,keyCertSign -out "$work/root.pem"
sign intermediate '/O=Workshop/CN=Workshop E1' root 7000 'basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid'
leaf='basicConstraints=critical,CA:FALSE
authorityKeyIdentifier=keyid
subjectKeyIdentifier=hash
tlsfeature=status_request
authorityInfoAccess=OCSP;URI:http://ocsp.example.net/,caIssuers;URI:http://ca.example.net/e1.der
subjectAltName=DNS:example.com,DNS:*.Example.com,IP:192.0.2.7,IP:2001:db8::7'
sign leaf '/CN=example.com' intermediate 90 "$leaf"
quiet openssl req -x509 -new -key "$work/other.key" -subj '/CN=other.example' -days 365 \
    -out other.pem
cp "$work/root.pem" "$work/intermediate.pem" "$work/leaf.pem" .
cp "$work/leaf.key" leaf.key
cp "$work/other.key" other.key

# The same key in every form that a key has.
quiet openssl ec -in leaf.key -out "$work/sec1"
{ printf '%s\n' '-----BEGIN EC PARAMETERS-----' 'BggqhkjOPQMBBw==' '-----END EC PARAMETERS-----'
  cat "$work/sec1"; } >leaf-sec1.key
for cipher in aes-128-cbc aes-192-cbc aes-256-cbc des-ede3-cbc; do
    quiet openssl ec -in leaf.key "-$cipher" -passout pass:first -out "leaf-traditional-$cipher.key"
    quiet openssl pkcs8 -topk8 -in leaf.key -v2 "$cipher" -v2prf hmacWithSHA256 -passout pass:first \
        -out "leaf-pbes2-$cipher.key"
done
for prf in hmacWithSHA1 hmacWithSHA384 hmacWithSHA512; do
    quiet openssl pkcs8 -topk8 -in leaf.key -v2 aes-256-cbc -v2prf "$prf" -passout pass:first \
        -out "leaf-pbes2-$prf.key"
done
quiet openssl pkcs8 -topk8 -in leaf.key -v1 PBE-SHA1-3DES -passout pass:first -out leaf-pbe-3des.key
quiet openssl pkcs8 -topk8 -in leaf.key -scrypt -passout pass:first -out leaf-scrypt.key

# Other kinds of keys, and a certificate of version 1.
quiet openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key
quiet openssl rsa -in rsa.key -traditional -out rsa-pkcs1.key
quiet openssl req -x509 -new -key rsa.key -subj '/CN=rsa.example' -days 365 \
    -addext subjectAltName=DNS:rsa.example -out rsa.pem
quiet openssl genpkey -algorithm ED25519 -out ed25519.key
quiet openssl req -x509 -new -key ed25519.key -subj '/CN=ed.example' -days 365 -out ed25519.pem
quiet openssl req -new -key leaf.key -subj '/CN=old.example' -out "$work/v1.csr"
quiet openssl x509 -req -in "$work/v1.csr" -signkey leaf.key -days 365 -out v1.pem
quiet openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key
quiet openssl req -x509 -new -key weak.key -subj '/CN=weak.example' -days 365 -out weak.pem
quiet openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out koblitz.key
quiet openssl req -x509 -new -key koblitz.key -subj '/CN=koblitz.example' -days 365 -out koblitz.pem

# Containers.
pfx() { # password, file, further arguments
    password="$1" file="$2"
    shift 2
    quiet openssl pkcs12 -export -inkey leaf.key -in leaf.pem -certfile intermediate.pem \
        -name 'my site' -passout "pass:$password" -out "$file" "$@"
}
pfx first leaf-modern.pfx
pfx first leaf-3des.pfx -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1
pfx first leaf-rc2.pfx -legacy
pfx '' leaf-no-password.pfx
pfx 'пароль' leaf-cyrillic.pfx -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1
quiet openssl crl2pkcs7 -nocrl -certfile leaf.pem -out leaf.p7b

# Names with everything that has to be escaped, and what OpenSSL makes of them.
name() { # file, subject, serial number
    quiet openssl req -x509 -new -config "$work/names.cnf" -key leaf.key -subj "$2" -utf8 \
        -multivalue-rdn -days 365 -set_serial "$3" -out "name-$1.pem"
    openssl x509 -in "name-$1.pem" -noout -subject -nameopt RFC2253 | sed 's/^subject=//' \
        >"name-$1.rfc2253"
    openssl x509 -in "name-$1.pem" -noout -subject -nameopt compat | sed 's/^subject=//' \
        >"name-$1.legacy"
}
cat >"$work/names.cnf" <<END
oid_section = oids
[req]
distinguished_name = subject
[oids]
nobodys = 1.2.3.4.5
[subject]
END
name plain '/C=DE/ST=Berlin/L=Berlin/O=Example GmbH/OU=Web/CN=example.com/emailAddress=a@example.com' 0x0a1b2c3d
name escaped '/O=A, "B" <C>; D\/E\\F=G/CN= #first and last ' 0x80
name sharp '/CN=#sharp' 0x01
name unicode '/O=Zoë/CN=世界 x' 0xffffffffffffffffffffffffffffffffffff
name several '/O=One+OU=Two+CN=Three/CN=Four' 0x00
name unknown '/nobodys=hello/DC=com/UID=me/street=Road 1/serialNumber=7/GN=G/SN=S' 0x7f
name control '/O=a	b/CN=line' 0x12
