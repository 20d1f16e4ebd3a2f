"""stash beside what it would replace, on one machine, in one run: ``python -m bench``. See docs/performance.md."""
