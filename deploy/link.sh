#!/usr/bin/env bash
# Links `stash`, its completions and its man page to where this user's shell looks for them.
# What is there and is not a link into a checkout of stash stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
data=${XDG_DATA_HOME:-$HOME/.local/share}

link() { # from (in the checkout), to
    local from=$here/$1 to=$2
    [[ -e $from ]] || { echo "missing: $from" >&2; return 1; }
    if [[ ! -L $to && -e $to ]] || { [[ -L $to ]] && [[ $(readlink "$to") != */"$1" ]]; }; then
        echo "left alone: $to is not a link of stash's" >&2
        return 1
    fi
    mkdir -p "$(dirname "$to")"
    ln -sfn "$from" "$to"
}

if ! link .venv/bin/stash "$HOME/.local/bin/stash"; then
    echo "remove it, or call stash as $here/.venv/bin/stash" >&2
    exit 1
fi
link completions/stash.bash "$data/bash-completion/completions/stash" || true
link completions/_stash "$data/zsh/site-functions/_stash" || true
link completions/stash.fish "$data/fish/vendor_completions.d/stash.fish" || true
link docs/stash.1 "$data/man/man1/stash.1" || true
echo "installed: ~/.local/bin/stash -> $here/.venv/bin/stash"

case :$PATH: in
*:"$HOME/.local/bin":*)
    [[ $(command -v stash) -ef .venv/bin/stash ]] || echo "another stash is found before it: $(command -v stash)"
    ;;
*) echo "~/.local/bin is not on your PATH; add it: echo 'export PATH=\"\$HOME/.local/bin:\$PATH\"' >> ~/.profile" ;;
esac
