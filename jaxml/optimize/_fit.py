"""The result of every fit, and the one loop that every iterative fit runs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import NonNegative
from jaxml._status import Status

LONGEST = 512  # the most entries a history has
UNRECORDED = np.inf  # in a history; NaN would be a fault under JAX_DEBUG_NANS


class Fit(NamedTuple):
    """Fitted parameters, and how the search for them went.

    Only params and cost carry derivatives; at a status other than CONVERGED those of
    the solution are NaN.
    """

    params: Any  # the model's own Params
    cost: jax.Array  # () what was minimised, at params
    residual: jax.Array  # () what was compared with tol
    steps: jax.Array  # () int32, steps taken; 0 for a closed form
    status: jax.Array  # () int32, a Status
    history: Any  # (min(max_iter, 512),) cost along the way, inf where not recorded

    @classmethod
    def closed(cls, params, cost, residual, status) -> "Fit":
        """A fit by a formula: no step, and nothing recorded."""
        history = jnp.full(1, UNRECORDED, jnp.result_type(cost))
        status = jnp.asarray(status, jnp.int32)
        return cls(params, cost, residual, jnp.int32(0), status, history)

    def flag(self, where, status: Status) -> "Fit":
        """With a status, or what is graver, where that holds."""
        graver = jnp.maximum(self.status, status)
        flagged = jnp.where(where, graver, self.status)
        return self._replace(status=flagged.astype(jnp.int32))

    def __repr__(self) -> str:
        """The fields, the status in words and first, so that a failure is seen."""
        shapes = jax.tree.map(jnp.shape, self.history)
        shown = self._replace(history=shapes)._asdict().items()
        rest = ", ".join(f"{name}={value!r}" for name, value in shown)
        return f"Fit({_spelled(self.status)}{rest})"


def _spelled(status) -> str:
    """A concrete status in words; how many members have each, for a batch."""
    known = isinstance(status, (jax.Array, np.ndarray, np.generic, int))
    if not known or isinstance(status, jax.core.Tracer):
        return ""
    values, counts = np.unique(np.asarray(status), return_counts=True)
    kinds = [Status(int(value)) for value in values]
    if np.ndim(status) == 0:
        return f"{kinds[0].name}: {kinds[0].sentence} "
    members = [f"{n} {kind.name}" for kind, n in zip(kinds, counts, strict=True)]
    return f"{', '.join(members)}: "


class Progress(NamedTuple):
    """What one step of `iterate` reports."""

    cost: jax.Array  # ()
    residual: jax.Array  # ()
    status: Any = Status.RUNNING  # () anything else ends the loop
    record: Any = None  # pytree of scalars for the history; the cost if None


class FitError(RuntimeError):
    """A fit that failed; `mask` says which members of a batch did."""

    def __init__(self, message: str, mask: np.ndarray):
        """Keep the message for the reader and the mask for the program."""
        super().__init__(message)
        self.mask = mask

    def __reduce__(self):
        """Both arguments, so that a worker process can hand the error over."""
        return type(self), (self.args[0], self.mask)


class _Loop(NamedTuple):
    state: Any
    progress: Progress
    steps: jax.Array
    history: Any
    best: tuple[jax.Array, jax.Array]  # least cost and least residual so far
    since: jax.Array  # steps since either improved


@_check.host
def iterate(
    step: Callable[[Any], tuple[Any, Progress]],
    state: Any,
    start: Progress | None = None,
    *,
    tol: NonNegative,
    max_iter: int,
    patience: int | None = None,
    history_length: int | None = None,
) -> Fit:
    """Repeat `state, progress = step(state)` until progress.residual <= tol.

    The last state is returned as Fit.params. The loop also ends where the step says
    so (progress.status), where cost or residual becomes NaN, after max_iter steps, and
    as STALLED when neither cost nor residual, (), has improved for `patience` steps.
    With tol = 0, max_iter steps are what was asked for: it ends FINISHED.
    `start` is the progress of the state given, if it is known: a state that is within
    tol takes no step. `history_length` is that of the history, at most 512 if None. For
    use inside jit; it can be vmapped.
    """
    length = min(max_iter, LONGEST) if history_length is None else history_length
    stride = -(-max_iter // length)
    if start is None:
        shape = jax.eval_shape(step, state)[1]
        start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        far = jnp.full_like(start.residual, jnp.inf)
        start = start._replace(residual=far, status=Status.RUNNING)

    def with_status(progress: Progress, steps, since) -> Progress:
        status = jnp.asarray(progress.status, jnp.int32)
        open_ = (status == Status.RUNNING) | (status == Status.STALLED)
        status = jnp.where(open_ & (progress.residual <= tol), Status.CONVERGED, status)
        running = status == Status.RUNNING
        if patience is not None:
            status = jnp.where(running & (since >= patience), Status.STALLED, status)
        running = status == Status.RUNNING
        last = jnp.where(jnp.asarray(tol) <= 0, Status.FINISHED, Status.EXHAUSTED)
        status = jnp.where(running & (steps >= max_iter), last, status)
        wrong = ~jnp.isfinite(progress.cost) | jnp.isnan(progress.residual)
        status = jnp.where(wrong, Status.NONFINITE, status).astype(jnp.int32)
        return progress._replace(status=status)

    def advance(loop: _Loop) -> _Loop:
        state, progress = step(loop.state)
        steps = loop.steps + 1
        cost, residual = loop.best
        better = (progress.cost < cost) | (progress.residual < residual)
        since = jnp.where(better, 0, loop.since + 1)
        record = progress.cost if progress.record is None else progress.record
        # Every stride-th step has a place; the others are written out of bounds.
        place = jnp.where(steps % stride == 0, steps // stride - 1, length)
        history = jax.tree.map(
            lambda h, r: h.at[place].set(r, mode="drop"), loop.history, record
        )
        cost = jnp.minimum(cost, progress.cost)
        residual = jnp.minimum(residual, progress.residual)
        progress = with_status(progress, steps, since)
        progress = progress._replace(record=loop.progress.record)
        return _Loop(state, progress, steps, history, (cost, residual), since)

    record = start.cost if start.record is None else start.record
    history = jax.tree.map(lambda r: jnp.full(length, UNRECORDED, r.dtype), record)
    zero = jnp.int32(0)
    worst = jnp.full_like(start.cost, jnp.inf), jnp.full_like(start.residual, jnp.inf)
    loop = _Loop(state, with_status(start, zero, zero), zero, history, worst, zero)
    loop = jax.lax.while_loop(
        lambda loop: loop.progress.status == Status.RUNNING, advance, loop
    )
    cost, residual, status, _ = loop.progress
    return Fit(loop.state, cost, residual, loop.steps, status, loop.history)


@_check.host
def check(fit: Fit) -> Fit:
    """Give back a fit that went well; raise FitError from EXHAUSTED on. Not for jit.

    For a batch of fits, as vmap makes them, the error counts the members that failed,
    says how the gravest did and carries their mask, of the shape of fit.status.
    """
    if isinstance(fit.status, jax.core.Tracer):
        raise ValueError("fit is traced: call check outside jit, on what it returns")
    status = np.asarray(fit.status)
    mask = status >= Status.EXHAUSTED
    if not mask.any():
        return fit
    worst = np.unravel_index(status.argmax(), status.shape)
    residual, steps = np.asarray(fit.residual)[worst], np.asarray(fit.steps)[worst]
    kind = Status(int(status[worst]))
    where = f"Residual {residual:.3g} after {steps} steps."
    report = f"{kind.name}: {kind.sentence} {where}"
    if status.ndim:
        where = ", ".join(str(i) for i in worst)
        count = f"{mask.sum()} of {mask.size} fits failed"
        report = f"{count}, the gravest at [{where}]. {report}"
    raise FitError(report, mask)


@_check.host
def best(fits: Fit) -> Fit:
    """The cheapest of the fits stacked on a leading axis, as jax.vmap stacks them.

    Fits that are UNBOUNDED or worse are passed over, unless all of them are; the status
    of what is returned then says so. Can be jitted.
    """
    if jnp.ndim(fits.status) != 1:
        shape = jnp.shape(fits.status)
        raise ValueError(f"fits must be stacked on one axis, not {shape}")
    usable = (fits.status < Status.UNBOUNDED) & ~jnp.isnan(fits.cost)
    index = jnp.argmin(jnp.where(usable, fits.cost, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[index], fits)
