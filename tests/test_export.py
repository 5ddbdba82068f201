"""Every fit lowers for CPU, CUDA and TPU, here, where there are no such devices."""

import jax
import optax
import pytest

from jaxml import optimize
from tests.common import samples, walk

FITS = [p for p in walk.public() if p.kind == "fit"]


@pytest.mark.parametrize("public", FITS, ids=lambda p: p.id)
def test_lowers_for_every_platform(public):
    _lowers(public, samples.arguments(public))


@pytest.mark.parametrize(
    "solver",
    [
        optax.lbfgs,
        optimize.conjugate,
        optimize.newton,
        optimize.newton_cg,
        optimize.levenberg_marquardt,
        optimize.gauss_newton,
    ],
    ids=lambda solver: solver.__name__,
)
def test_each_solver_lowers(solver):
    """Factorisations are other routines on each platform."""
    (public,) = (p for p in FITS if p.name == "minimize")
    found = samples.arguments(public)
    _lowers(public, {**found, "solver": solver, "residual": _residual})


def _residual(w, x, t, *, l2):
    return x @ w - t


def _lowers(public, found):
    function, varied = samples.of_traced(public, found)
    exported = jax.export.export(jax.jit(function), platforms=["cpu", "cuda", "tpu"])
    lowered = exported(jax.tree.map(jax.numpy.asarray, varied))
    assert set(lowered.platforms) == {"cpu", "cuda", "tpu"}
    assert len(lowered.mlir_module_serialized) > 0
