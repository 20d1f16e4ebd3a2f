#!/bin/sh
# For cron: keeps what agents leave behind within bounds, and what it deletes early in an archive.
#
#     17 * * * * $HOME/stash/examples/cron-prune.sh $HOME/.config/stash/policies $HOME/stash-archive
#
# The first file has a policy a line, a prefix and options of `stash prune`:
#
#     log/     --older-than 7d
#     builds/  --keep-newest 50
#
# Silent when all is well, so cron mails only what went wrong. `stash import` reads the archive, a file a month.
set -eu
PATH=${HOME:?}/.local/bin:/usr/local/bin:$PATH # cron's own is short

[ $# -eq 2 ] || { echo "usage: cron-prune.sh POLICIES ARCHIVE_DIRECTORY" >&2; exit 2; }
policies=$1
archive=$2/$(date +%Y-%m).jsonl

umask 077
mkdir -p "$2"
running=0
said=$(stash set cron-prune/running "$$" --if-absent --ttl 1h 2>&1) || running=$?
case $running in
0) ;;
6) exit 0 ;; # the last one is not done yet
*) echo "$said" >&2 && exit "$running" ;;
esac
trap 'stash forget cron-prune/running >/dev/null || :' EXIT

failed=0
while read -r prefix options; do
    case $prefix in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086  # options are words
    stash prune --prefix "$prefix" $options --archive "$archive" || failed=$?
done <"$policies"
stash prune || failed=$? # what is expired, of every prefix
exit "$failed"
