"""stash beside what it would replace, on one machine, in one run: ``python -m bench``. See docs/performance.md."""

import os

# One thread for numpy, said before it is imported: the others would not be pinned, and would spin on the servers' core,
# where they kept searches waiting three times as long as those take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
