#!/usr/bin/env bash
# The main job on real input, through the installed command: one process stores, others read, time takes it away.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.local/bin:$PATH

show() { # a command line: print it, run it in a shell of its own
    printf '\n$ %s\n' "$1"
    bash -c "$1"
}

echo
echo "stash at work, on your own data directory:"
show 'stash set tour/readme --ttl 10m < README.md'
show 'stash get tour/readme | cmp - README.md && echo "the same bytes, from another process"'
show 'stash set tour/plan "find the leak, then fix it" --ttl 30m'
show 'stash get tour/plan'
show 'stash extend tour/plan 1h'
show 'stash ttl tour/readme'
show 'stash list tour/ -l'
show 'stash forget --prefix tour/ --yes'

cat <<END

Done: the first call started the daemon, and it goes by itself when it is idle.
Next: stash set greeting hello; stash get greeting; stash --help
      or from Python (.venv/bin/python): from stash_memory import Stash; Stash().get("greeting")
END
