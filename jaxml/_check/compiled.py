"""The programs of declared functions: those for small data are compiled cheaply."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

SMALL = 2**15  # numbers up to which the cheap code is as fast as the other
LESS_OF_LLVM = {"xla_backend_optimization_level": 1}
# With XLA's older generator, where it is still there: half the time to compile.
CHEAP = ({**LESS_OF_LLVM, "xla_cpu_use_fusion_emitters": False}, LESS_OF_LLVM)


def program(function: Callable[..., Any], static: Iterable[str]) -> Callable[..., Any]:
    """jax.jit of a function of keyword arguments, which suits the size of the data."""
    jit = functools.partial(jax.jit, function, static_argnames=tuple(static))
    plain, cheap = jit(), functools.cache(lambda: jit(compiler_options=_options()))

    def run(**arguments):
        cheaply = _options() and _small(arguments) and not _traced()
        return cheap()(**arguments) if cheaply else plain(**arguments)

    return run


def _small(arguments: dict[str, Any]) -> bool:
    """Whether there are few numbers, all of them here."""
    size = 0
    for leaf in jax.tree.leaves(arguments):
        if isinstance(leaf, jax.core.Tracer):
            return False
        size += getattr(leaf, "size", 0)
    return size <= SMALL


def _traced() -> bool:
    """Whether this is part of a larger program, where options may not be set."""
    return isinstance(jax.lax.neg(_one()), jax.core.Tracer)


@functools.cache
def _one() -> jax.Array:
    with jax.ensure_compile_time_eval():
        return jnp.ones((), jnp.int32)


@functools.cache
def _options() -> dict[str, Any]:
    """Those of CHEAP that XLA takes; none but on one processor, where a user's win."""
    own = os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() != "cpu" or any(name in own for name in CHEAP[0]):
        return {}
    for options in CHEAP if jax.device_count() == 1 else ():
        with contextlib.suppress(jax.errors.JaxRuntimeError, ValueError):
            with jax.ensure_compile_time_eval():
                jax.jit(lambda: 0, compiler_options=options)()
            return options
    return {}
