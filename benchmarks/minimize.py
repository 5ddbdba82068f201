"""Every solver on every problem of tests/problems.py, in both precisions.

  python dev.py bench minimize [problem ...]

Steps, seconds (compilation included), the norm of the gradient and by how much the cost
is above what SciPy finds from there, both in float64. A line that begins with * is of a
solver that need not converge there; ! marks one that should have.
"""

import contextlib
import sys
import time

import jax

from jaxml import Status
from tests import problems


def row(name, solver, dtype):
    """One search, as a line of the table."""
    wide = dtype == "float64"
    start = time.perf_counter()
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        fit = jax.block_until_ready(problems.solve(name, solver, dtype))
    seconds = time.perf_counter() - start
    faults = problems.faults(name, solver, dtype, fit)
    expected = problems.expected(name, solver, dtype)
    mark = "*" if not expected else "!" if faults else " "
    judged = problems.judge(name, fit.params)
    return (
        f"{mark} {name:17} {solver:19} {dtype}  {Status(int(fit.status)).name:9}"
        f" {int(fit.steps):5} {seconds:6.1f} s  |g| {judged.gradient:7.1e}"
        f"  tol {problems.PROBLEMS[name].tol[dtype]:.0e}  J {judged.cost:13.6e}"
        f"  excess {judged.excess:8.1e}"
    )


def main(names):
    for name in names or problems.PROBLEMS:
        for solver in problems.solvers(name):
            for dtype in ("float32", "float64"):
                print(row(name, solver, dtype), flush=True)
                jax.clear_caches()


if __name__ == "__main__":
    main(sys.argv[1:])
