"""Programs for small data are compiled cheaply, and give what the others give."""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jaxml import logistic
from jaxml._check import compiled

assert compiled._options()
made = []
jit = jax.jit
jax.jit = lambda f, **k: made.append(k.get("compiler_options")) or jit(f, **k)
run = compiled.program(lambda *, x, power=1: (x**power).sum(), ["power"])
jax.jit = jit
assert made == [None]
few, many = np.ones(10, np.float32), np.ones(compiled.SMALL + 1, np.float32)
assert run(x=many) == compiled.SMALL + 1
assert run(x=few, power=2) == 10

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 3)).astype(np.float32)
y = (x[:, 0] + rng.normal(size=60) > 0).astype(int)
x, y = jnp.asarray(x), jnp.asarray(y)  # NumPy's would be traced by their transfer
fit = lambda l2: logistic.fit(x, y, l2=l2)
ways = [
    fit(0.1).params.w,
    jax.jit(lambda: fit(0.1).params.w)(),
    jax.jit(lambda l2: fit(l2).params.w)(0.1),
    jax.vmap(lambda l2: fit(l2).params.w)(jnp.array([0.1]))[0],
    jax.jvp(lambda l2: fit(l2).params.w, (0.1,), (1.0,))[0],
    jax.eval_shape(lambda: fit(0.1)).params.w,
]
assert ways.pop().shape == (3,)
for w in ways:
    np.testing.assert_allclose(w, ways[0], rtol=1e-4)
print("the same")
"""


def test_small_programs_under_all_transformations():
    """With users' flags: the tests' own switch the cheap compilation off."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert run.stdout == "the same\n", run.stderr


def test_flags_of_a_user_win():
    own = {"XLA_FLAGS": "--xla_backend_optimization_level=2"}
    program = "from jaxml._check import compiled; print(compiled._options())"
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **own},
    )
    assert run.stdout == "{}\n"
