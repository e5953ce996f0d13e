#!/bin/sh
# Makes the certificates of this folder anew: an ARK, an ASK and ASVK, a VCEK and a VLEK like AMD's, with test keys.
# The keys of the authorities are thrown away; those of VCEK and VLEK are the numbers 11 and 12 (see the tests).
set -eu
days=36500
serial=0
rsa() { openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out "$1"; }
pss="-sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48"
issue() { # name subject issuer extensions
  serial=$((serial + 1))
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  # shellcheck disable=SC2086
  openssl x509 -req -in "$1.csr" -CA "$3.pem" -CAkey "$3.key" -set_serial "$serial" -days $days $pss \
    -extfile "$4" -out "$1.pem"
  rm "$1.csr"
}
printf 'basicConstraints=critical,CA:TRUE\n' >ca.cnf
tcb='1.3.6.1.4.1.3704.1.3.1=ASN1:INTEGER:4
1.3.6.1.4.1.3704.1.3.2=ASN1:INTEGER:0
1.3.6.1.4.1.3704.1.3.3=ASN1:INTEGER:22
1.3.6.1.4.1.3704.1.3.8=ASN1:INTEGER:213'
printf '%s\n1.3.6.1.4.1.3704.1.4=DER:%s\n' "$tcb" "$(printf '5a%.0s' $(seq 64))" >vcek.cnf
printf '%s\n1.3.6.1.4.1.3704.1.5=ASN1:IA5STRING:example\n' "$tcb" >vlek.cnf
rsa ark.key
# shellcheck disable=SC2086
openssl req -x509 -new -key ark.key -subj '/CN=ARK-Test' $pss -days $days -out ark.pem \
  -addext basicConstraints=critical,CA:TRUE
for name in ask asvk; do
  rsa $name.key
  issue $name "/CN=SEV-$name-Test" ark ca.cnf
done
# Keys with the numbers 11 and 12, as SEC1: version 1, the number, the curve secp384r1.
for pair in vcek:0b:ask vlek:0c:asvk; do
  name=${pair%%:*}
  number=${pair#*:}
  printf '303e0201010430%s%s a00706052b81040022' "$(printf '00%.0s' $(seq 47))" "${number%:*}" |
    xxd -r -p | openssl ec -inform DER -out $name.key 2>/dev/null
  issue $name "/CN=SEV-$name" "${pair##*:}" $name.cnf
done
# An RSA key of the right size that is no authority.
rsa leaf.key
printf '[req]\ndistinguished_name=d\nx509_extensions=v\n[d]\n[v]\nbasicConstraints=critical,CA:FALSE\n' >leaf.cnf
# shellcheck disable=SC2086
openssl req -x509 -new -config leaf.cnf -key leaf.key -subj '/CN=Leaf' $pss -days $days -out leaf.pem
rm -f ./*.key ./*.cnf
