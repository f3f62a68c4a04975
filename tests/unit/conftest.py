"""One thread for each library that would take as many as there are processors: two processes of tests fill them."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # read as numpy and torch are imported
