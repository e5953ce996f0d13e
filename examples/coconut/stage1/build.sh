#!/bin/sh
# Usage: build.sh TEXT OUT. Writes TEXT filled up with zeros to 4096 bytes.
set -eu
{
  cat "$1"
  head -c 4096 /dev/zero
} | head -c 4096 > "$2"
