"""Every fit lowers for CPU, CUDA and TPU, here, where there are no such devices."""

import jax
import pytest

from tests.common import samples, walk

FITS = [p for p in walk.public() if p.kind == "fit"]


@pytest.mark.parametrize("public", FITS, ids=lambda p: p.id)
def test_lowers_for_every_platform(public):
    found = samples.arguments(public)
    function, varied = samples.of_traced(public, found)
    exported = jax.export.export(jax.jit(function), platforms=["cpu", "cuda", "tpu"])
    lowered = exported(jax.tree.map(jax.numpy.asarray, varied))
    assert set(lowered.platforms) == {"cpu", "cuda", "tpu"}
    assert len(lowered.mlir_module_serialized) > 0
