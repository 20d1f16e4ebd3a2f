#!/bin/sh
# Hands context from one agent to another: a note lies there until somebody takes it, and only one gets it.
#
#     handover.sh give review < notes.md     in the agent that is done; exit 6 while an earlier note still lies there
#     handover.sh take review > notes.md     in the one that goes on; waits for the note, exit 124 if none comes
#     handover.sh peek review                what lies there, without taking it
#
# A note is kept for HANDOVER_TTL (1d), and waited for as long as HANDOVER_WAIT (10m).
set -eu

[ $# -eq 2 ] || { echo "usage: handover.sh give|take|peek TOPIC" >&2; exit 2; }
note=handover/$2
taker=$note/taker

take() {
    copy=$(mktemp)
    trap 'rm -f "$copy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    while :; do
        stash get "$note" --wait "${HANDOVER_WAIT:-10m}" >/dev/null
        # Only one at a time reads and deletes; giving is refused meanwhile, for the note is still there.
        if stash set "$taker" "$$" --if-absent --ttl 1m >/dev/null 2>&1; then
            taken=0
            if stash get "$note" >"$copy" 2>/dev/null; then
                stash forget "$note" >/dev/null && taken=1
            fi
            stash forget "$taker" >/dev/null || :
            [ "$taken" -eq 0 ] || break
        else
            sleep 0.1
        fi
    done
    cat "$copy"
}

case $1 in
give) stash set "$note" - --if-absent --ttl "${HANDOVER_TTL:-1d}" >/dev/null ;;
take) take ;;
peek) stash get "$note" ;;
*) echo "handover.sh: '$1' is none of give, take, peek" >&2 && exit 2 ;;
esac
