#!/bin/sh
# Runs a slow command, and answers with what it printed until that is too old.
#
#     cached.sh 10m curl -sf https://example.org/prices
#
# What it prints is kept byte for byte, per directory and command. Whoever asks while it runs waits for that run. A
# failure is not kept, and a stash that cannot be reached never keeps the command from running.
set -eu

[ $# -ge 2 ] || { echo "usage: cached.sh TTL COMMAND [ARGUMENT...]" >&2; exit 2; }
ttl=$1
shift

digest() { # of stdin; Linux and macOS call it differently
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-64
}

key=cached/$(printf '%s\0' "$PWD" "$@" | digest)
running=$key/running

stash get "$key" 2>/dev/null && exit

while :; do
    claim=0
    stash set "$running" "$$" --if-absent --ttl 10m >/dev/null 2>&1 || claim=$?
    [ "$claim" -eq 6 ] || break # it is ours to run, or the stash is in trouble: then run it too
    stash get "$key" --wait 1s 2>/dev/null && exit
done

output=$(mktemp)
tidy() {
    rm -f "$output"
    [ "$claim" -ne 0 ] || stash forget "$running" >/dev/null 2>&1 || :
}
trap tidy EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

stash get "$key" 2>/dev/null && exit # somebody's run ended between our look and our claim

status=0
"$@" >"$output" || status=$?
if [ "$status" -eq 0 ]; then
    stash set "$key" --ttl "$ttl" <"$output" >/dev/null || : # it says why on stderr
fi
cat "$output"
exit "$status"
