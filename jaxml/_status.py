"""How a fit ended."""

import enum


class Status(enum.IntEnum):
    """How a fit ended, in order of gravity."""

    RUNNING = -1
    CONVERGED = 0
    FINISHED = 1
    STOPPED = 2
    INTERRUPTED = 3
    EXHAUSTED = 4
    STALLED = 5
    UNBOUNDED = 6
    SINGULAR = 7
    INVALID = 8
    NONFINITE = 9

    @property
    def sentence(self) -> str:
        """What this status means, as a sentence."""
        return SENTENCES[self]


SENTENCES = {
    Status.RUNNING: "The fit is still running.",
    Status.CONVERGED: "The residual is within tol.",
    Status.FINISHED: "All steps or epochs asked for were run.",
    Status.STOPPED: "The validation score ceased to improve; params are the best.",
    Status.INTERRUPTED: "The run was interrupted; params are what was learned so far.",
    Status.EXHAUSTED: "max_iter steps were taken and the residual is above tol.",
    Status.STALLED: (
        "Neither cost nor residual improves (precision used up?), "
        "or training raised the cost (learning_rate too high?)."
    ),
    Status.UNBOUNDED: "There is no finite minimiser (separable data?).",
    Status.SINGULAR: "The equations are singular or too near it for this precision.",
    Status.INVALID: "An argument holds values out of range.",
    Status.NONFINITE: "The cost, the residual or a score became NaN or infinite.",
}
