#!/bin/sh
# Works through the lines of stdin with several workers that share their progress.
#
#     ls *.wav | workers.sh encode 4 flac --best
#
# Each line is done once, as the command's last argument, whichever worker gets it: start the same in another terminal
# and that helps. What failed, or was left by a worker that died, is tried by the next run with the same job name; what
# is done is not done again for a week. From anywhere: stash get encode/count; stash list encode/done/
set -eu

[ $# -ge 3 ] || { echo "usage: workers.sh JOB WORKERS COMMAND [ARGUMENT...] < LINES" >&2; exit 2; }
job=$1
workers=$2
shift 2
claim_ttl=${WORKERS_CLAIM_TTL:-30m} # longer than one line takes; a worker that died holds its line so long

lines=$(mktemp)
pids=
trap 'rm -f "$lines"; [ -z "$pids" ] || kill $pids 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
awk NF >"$lines" # whole lines: the last may come without its end, and empty ones are no work
total=$(wc -l <"$lines" | tr -d ' ')

work() { # the command: go over all lines, and do those nobody else has
    while IFS= read -r line <&3; do
        stash exists "$job/done/$line" && continue
        stash set "$job/claim/$line" "$$" --if-absent --ttl "$claim_ttl" >/dev/null 2>&1 || continue
        if stash exists "$job/done/$line"; then # somebody finished it between our two looks
            :
        elif "$@" "$line" 3<&-; then
            stash set "$job/done/$line" "$(date)" --ttl 7d >/dev/null
            count=$(stash incr "$job/count" --ttl 7d)
            echo "$job: $count of $total: $line" >&2
        else
            echo "$job: failed: $line" >&2
        fi
        stash forget "$job/claim/$line" >/dev/null || : # its time may be over
    done 3<"$lines"
}

while [ "$workers" -gt 0 ]; do
    work "$@" &
    pids="$pids $!"
    workers=$((workers - 1))
done
wait
pids=

missing=0
while IFS= read -r line; do
    stash exists "$job/done/$line" || missing=$((missing + 1))
done <"$lines"
[ "$missing" -eq 0 ] || { echo "$job: $missing of $total are not done" >&2; exit 1; }
