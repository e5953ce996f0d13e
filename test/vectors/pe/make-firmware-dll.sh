#!/usr/bin/env bash
# Makes firmware.dll with Debian's binutils-mingw-w64-x86-64: windres writes the resources, ld the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'synthetic SNP igvm payload of a test\n%.0s' 1 2 3 >"$work/snp.bin"
printf 'synthetic TDX igvm payload of a test\n' >"$work/tdx.bin"
cat >"$work/firmware.rc" <<'END'
13515 VMFW "snp.bin"
13520 VMFW "tdx.bin"
7 RCDATA "tdx.bin"
END
(cd "$work" && x86_64-w64-mingw32-windres firmware.rc -O coff -o firmware.o --preprocessor=/bin/cat)
x86_64-w64-mingw32-ld -shared -s --no-insert-timestamp -e 0 "$work/firmware.o" -o firmware.dll
