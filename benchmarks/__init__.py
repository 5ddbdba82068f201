"""Measurements, one module each: `python -m benchmarks.mlp`. See README.md here."""

import os

# Both sides get two threads. The libraries read this once, when they are imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "2")
