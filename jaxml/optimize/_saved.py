"""The file that a run goes on from, written while it goes on."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxml._check import values
from jaxml.data import _structure, checkpoint
from jaxml.optimize._epoch import Best, State

NAME = "run.safetensors"


class Run(NamedTuple):
    """How far a run on the host has come."""

    state: State
    best: Best
    parts: list[Any]  # metrics and loads of the batches of an epoch that has begun
    records: list[dict[str, float]]  # of each epoch
    first: float  # the cost of the first batch, before its step


class Saved:
    """Where a run is saved, and how often; nowhere if there is no folder."""

    def __init__(
        self, folder: str | os.PathLike[str] | None, every: float, batch: int, m: int
    ):
        """Look at how often a run of m rows in batches can be saved."""
        self.file = None if folder is None else Path(folder) / NAME
        self.every, self.of = _often(every), {"batch": batch, "m": m}
        total = -(-m // batch)
        self.steps: int | None = None  # batches from one to the next, an epoch if None
        if self.file is not None and every < 1:
            most = max(1, int(every * total))
            self.steps = max(n for n in range(1, most + 1) if total % n == 0)
        self.pool = ThreadPoolExecutor(1)
        self.pending: Future | None = None
        self.written: Run | None = None  # what the file holds, or soon will

    def __enter__(self) -> "Saved":
        """Use it in a with statement: no file is written when a run has ended."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what is being written, whatever happened."""
        self.pool.shutdown()

    def resumed(self, now: Run) -> Run:
        """The run as it was saved last, or as it is at its start."""
        if self.file is None:
            return now
        try:
            found = checkpoint.load(self.file)
        except FileNotFoundError:
            return now
        except ValueError as error:
            raise ValueError(f"checkpoint cannot be read: {error}") from error
        for name, value in self.of.items():
            if found[name] != value:
                raise ValueError(
                    f"checkpoint holds a run of {name} = {found[name]}, not {value}"
                )
        both = _structure.placed("checkpoint", found["run"], (now.state, now.best))
        own, given = (jax.random.key_data(s.key) for s in (both[0], now.state))
        if not np.array_equal(own, given):
            raise ValueError("checkpoint holds a run of another key")
        self.written = Run(*both, *(found[name] for name in Run._fields[2:]))
        return self.written

    def save(self, now: Run) -> None:
        """Begin to write, where it is time to; raise what the last time went wrong."""
        if self.pending is not None and self.pending.done():
            self.pending.result()
        if now.parts or len(now.records) % self.every == 0:
            self._write(now)

    def close(self, now: Run) -> None:
        """Write the end of the run, and wait for it."""
        self._write(now)
        if self.pending is not None:
            self.pending.result()

    def _write(self, now: Run) -> None:
        if self.file is None or now is self.written:
            return
        if self.pending is not None:
            self.pending.result()
        self.written = now
        run = _structure.named("checkpoint", (now.state, now.best))
        rest = {name: getattr(now, name) for name in Run._fields[2:]}
        tree = {"run": run, **rest, **self.of}
        self.pending = self.pool.submit(checkpoint.save, self.file, tree)


def _often(every: float) -> int:
    """Epochs from one to the next, 1 if more often."""
    if not isinstance(every, (int, float, np.number)):
        raise ValueError(f"every must be a number, not {every!r}")
    values("every", every, "(0, inf)")
    if every > 1 and every != int(every):
        raise ValueError(f"every must be below 1, or a whole number, not {every}")
    return max(1, int(every))
