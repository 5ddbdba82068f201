"""What every benchmark does: time two sides by turns, compare, print, judge.

    report = Report("Multilayer perceptron")
    report.race("784-100-10, batch 10", ours, [Peer("PyTorch", theirs, least=4)])
    sys.exit(report.close())

The sides take turns in one process (A B A B …), after a pause, for the threads of a
BLAS spin on for a while after a call. Where other processes use the machine, turns are
put off and taken again, for a while. The first call of each side, which compiles, is
not among the samples.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

CORES = 2
PAUSE = 0.25  # s before each sample
TURNS = 7  # samples of each side
QUIET = 0.1  # cores that other processes may use during a turn
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # in a second
PATIENCE = 40  # s to wait for a quiet machine, for each race


class Peer(NamedTuple):
    """Another way to do the same job."""

    name: str
    run: Callable[[], Any]  # does the job, waits for it, gives the objectives it saw
    least: float | None = None  # how many times as long as jaxml it should take


class Timing(NamedTuple):
    """How long one side takes."""

    first: float  # s, the first call
    warm: float  # s, the median of the others
    value: Any  # what the first call gave
    others: float  # cores that other processes used meanwhile, median of the turns

    @property
    def compile(self) -> float:
        """What the first call took beyond a warm one, s."""
        return max(0.0, self.first - self.warm)


def two_cores() -> None:
    """Keep this process on two cores, so that no side's thread pool gets more."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def alternate(*sides: Callable[[], Any], turns: int = TURNS) -> list[Timing]:
    """Time the sides by turns: medians of `turns` quiet turns.

    For up to PATIENCE seconds a turn waits until the machine is quiet, and is taken
    again if it did not stay so; after that every turn counts.
    """
    firsts = [_sample(side) for side in sides]
    taken: list[list[_Sample]] = []
    deadline = time.perf_counter() + PATIENCE
    while len(taken) < turns:
        turn = [_sample(side, deadline) for side in sides]
        late = time.perf_counter() > deadline
        if late or max(sample.others for sample in turn) < QUIET:
            taken.append(turn)
    return [
        Timing(
            first.seconds,
            statistics.median(turn[i].seconds for turn in taken),
            first.value,
            statistics.median(turn[i].others for turn in taken),
        )
        for i, first in enumerate(firsts)
    ]


class _Sample(NamedTuple):
    seconds: float
    value: Any
    others: float  # cores that other processes used meanwhile


def _sample(side: Callable[[], Any], deadline: float = 0.0) -> _Sample:
    """One call, after a pause; until the deadline, after a quiet one."""
    while _watched(lambda: time.sleep(PAUSE)).others >= QUIET:
        if time.perf_counter() > deadline:
            break
    return _watched(lambda: jax.block_until_ready(side()))


def _watched(function: Callable[[], Any]) -> _Sample:
    all_before, own_before = _busy(), time.process_time()
    start = time.perf_counter()
    value = function()
    seconds = time.perf_counter() - start
    own = time.process_time() - own_before
    # The system counts in ticks: two may be ours, or nobody's.
    others = _busy() - all_before - own - 2 / TICKS
    return _Sample(seconds, value, max(0.0, others) / seconds)


def _busy() -> float:
    """Seconds that all cores together have been busy; 0 where Linux does not tell."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def apart(ours: Any, theirs: Any) -> float:
    """The largest difference between two series of objectives; NaN if any is."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} objectives cannot be compared with {b.shape}")
    return float(np.abs(a - b).max())


class Table:
    """A table in Markdown, printed row by row as the rows are found."""

    def __init__(self, **columns: int):
        """Print the head: the columns' names (_ for a space) and widths."""
        self.widths = list(columns.values())
        self.row(*(name.replace("_", " ") for name in columns))
        self.row(*("-" * width for width in self.widths))

    def row(self, *cells: str) -> None:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, self.widths))
        print("|", " | ".join(padded), "|", flush=True)


class Report:
    """Prints what is measured, and remembers what is wrong and what falls short."""

    def __init__(self, title: str, *packages: str):
        """Print the title, the date, the machine and the versions."""
        self.wrong: list[str] = []
        self.short: list[str] = []
        self.busy = 0.0
        self.table: Table | None = None
        print(f"# {title}\n\n{surroundings(*packages)}", flush=True)

    def heading(self, text: str, **columns: int) -> None:
        """Begin a table, with a line on what it shows."""
        print(f"\n{text}\n", flush=True)
        self.table = Table(**columns)

    def races(self, text: str) -> None:
        """Begin a table of races."""
        self.heading(
            text,
            job=40,
            peer=19,
            peer_ms=9,
            jaxml_ms=9,
            ratio=5,
            target=6,
            compile_s=9,
            apart=7,
        )

    def race(
        self,
        job: str,
        ours: Callable[[], Any],
        peers: Sequence[Peer],
        *,
        tolerance: float = 1e-5,
        turns: int = TURNS,
    ) -> Timing:
        """Time ours and the peers by turns, a row for each; compare what they give."""
        own, *theirs = alternate(ours, *(peer.run for peer in peers), turns=turns)
        if not peers:
            warm, compiled = f"{1e3 * own.warm:.1f}", f"{own.compile:.2f}"
            self.row(job, "none", "", warm, "", "", compiled, "")
        for peer, timing in zip(peers, theirs, strict=True):
            ratio = timing.warm / own.warm
            gap = apart(own.value, timing.value)
            self.busy = max(self.busy, own.others, timing.others)
            self.row(
                job,
                peer.name,
                f"{1e3 * timing.warm:.1f}",
                f"{1e3 * own.warm:.1f}",
                f"{ratio:.2f}",
                "" if peer.least is None else f">= {peer.least:g}",
                f"{own.compile:.2f}",
                f"{gap:.1e}",
            )
            if not gap <= tolerance:
                self.wrong.append(
                    f"{job}: {peer.name} is {gap:.1e} apart, not within {tolerance:.0e}"
                )
            if peer.least is not None and ratio < peer.least:
                self.short.append(
                    f"{job}: {ratio:.2f} times {peer.name}, not {peer.least}"
                )
        return own

    def row(self, *cells: str) -> None:
        """Print a row of the table that was begun last."""
        assert self.table is not None
        self.table.row(*cells)

    def demand(self, what: str, met: bool) -> None:
        """Remember a figure of speed that falls short."""
        if not met:
            self.short.append(what)

    def require(self, what: str, met: bool) -> None:
        """Remember a result that is wrong."""
        if not met:
            self.wrong.append(what)

    def close(self) -> int:
        """Print what is wrong or falls short; 1 if anything is wrong, else 0."""
        if self.busy >= QUIET:
            print(f"\nOther processes used up to {self.busy:.1f} cores: time it again.")
        for what in self.short:
            print(f"\nShort of its target: {what}.")
        for what in self.wrong:
            print(f"\nWRONG: {what}.")
        return int(bool(self.wrong))


def surroundings(*packages: str) -> str:
    """The date, the processor and the versions, in one line."""
    names = ("jax", "jaxlib", "optax", "numpy", *packages)
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    today = datetime.now(UTC).date()
    return f"{today}; {processor()}; Python {platform.python_version()}, {versions}."


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name and how many of its cores are used."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    return f"{name}, {cores} cores"


def need(module: str):
    """Import a peer, or end with the line that says how to get it."""
    try:
        return __import__(module)
    except ImportError:
        sys.exit(f"benchmarks: this needs {module}: pip install {module}")
