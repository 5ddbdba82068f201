"""Spin updates a second: heat bath and Swendsen–Wang, against NumPy's heat bath.

    python -m benchmarks.ising

Four lattices of 512 x 512 sites at T_c, 20 sweeps a call, energies and magnetisations
measured after each; the same at four temperatures in one vmap. NumPy's heat bath uses
its own generator and one thread. "Apart" are the mean energies of a site, which both
reach from order, where after 20 sweeps they are still on their way together.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import runner
from jaxml.physics import ising, onsager

LATTICES, SIZE, SWEEPS = 4, 512, 20
SPINS = LATTICES * SIZE**2
GOAL = 2e8  # heat-bath updates a second, on two cores
TC = onsager.CRITICAL_TEMPERATURE


def main() -> int:
    runner.two_cores()
    report = runner.Report("Ising spins")
    report.races(f"{LATTICES} lattices of {SIZE} x {SIZE}, {SWEEPS} sweeps")
    start = jnp.ones((LATTICES, SIZE, SIZE), jnp.int8)
    key = jax.random.key(0)
    keys = jax.random.split(key, LATTICES)
    temperatures = jnp.array([2.0, TC, 2.5, 3.0])
    several = jax.jit(
        jax.vmap(
            lambda key, spins, t: (
                ising.sample(key, spins, temperature=t, sweeps=SWEEPS).energy
            )
        )
    )

    def one():
        run = ising.sample(key, start, temperature=TC, sweeps=SWEEPS)
        return np.asarray(run.energy[-1]).mean()

    def clusters():
        run = ising.sample(key, start, temperature=TC, sweeps=2, method="swendsen_wang")
        return np.asarray(run.energy[-1]).mean()

    rates = {}
    peer = runner.Peer("NumPy", lambda: in_numpy(SWEEPS))
    own = report.race("heat bath, T_c", one, [peer], tolerance=5e-3)
    rates["heat bath, T_c"] = SPINS * SWEEPS / own.warm
    own = report.race(
        "heat bath, 4 temperatures", lambda: several(keys, start, temperatures), []
    )
    rates["heat bath, 4 temperatures"] = SPINS * SWEEPS / own.warm
    own = report.race("Swendsen-Wang, T_c, 2 steps", clusters, [])
    rates["Swendsen-Wang, T_c"] = 2 * SPINS / own.warm
    report.heading("Updates", job=28, a_second=10, goal=8)
    for job, rate in rates.items():
        heat = job.startswith("heat")
        report.row(job, f"{rate:.2e}", f"{GOAL:.0e}" if heat else "")
        if heat:
            report.demand(f"{job}: {rate:.2e} updates a second", rate >= GOAL)
    return report.close()


def in_numpy(sweeps: int) -> float:
    """The mean energy of a site after sweeps from order, by whole-array NumPy."""
    rng = np.random.default_rng(0)
    s = np.ones((LATTICES, SIZE, SIZE), np.int8)
    up = (1 / (1 + np.exp(-2 * np.array([-4, -2, 0, 2, 4]) / TC))).astype(np.float32)
    black = np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2 == 0
    for _ in range(sweeps):
        for colour in (black, ~black):
            around = sum(np.roll(s, d, a) for d in (1, -1) for a in (1, 2))
            draw = rng.random(s.shape, np.float32) < up[(around + 4) // 2]
            s = np.where(colour, np.where(draw, np.int8(1), np.int8(-1)), s)
    bonds = s * (np.roll(s, 1, 1) + np.roll(s, 1, 2))
    return -bonds.mean(dtype=float)


if __name__ == "__main__":
    sys.exit(main())
