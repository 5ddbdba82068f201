"""Race jaxml as it is against jaxml at another commit, in the jobs of a benchmark.

    python -m benchmarks.commits COMMIT NAME [job ...]

Each commit runs its own benchmarks/NAME.py in a process of its own; peers are left out.
At every race the two take turns. Printed are medians of wall time and of the processor
time of both threads, which says more on a shared machine, and the first calls.
"""

import argparse
import contextlib
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TURNS = 7
MARK = "@@"  # begins a line that is said to the referee


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.commits")
    parser.add_argument("commit")
    parser.add_argument("name")
    parser.add_argument("jobs", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", old, options.commit], check=True)
        try:
            race(old, options.name, options.jobs)
        finally:
            subprocess.run([*git, "remove", "--force", old], check=True)
    return 0


def race(old: Path, name: str, jobs: list[str]) -> None:
    print(
        f"| {name} | old ms | new ms | new/old | old CPU | new CPU | new/old | first |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with Racer(old, name, jobs) as one, Racer(ROOT, name, jobs) as other:
        while job := one.next_job():
            if job != other.next_job():
                raise SystemExit(
                    f"benchmarks: the commits differ in their jobs at {job}"
                )
            first = one.call(), other.call()
            turns = [(one.call(), other.call()) for _ in range(TURNS)]
            wall, cpu = (
                [1e3 * statistics.median(t[side][i] for t in turns) for side in (0, 1)]
                for i in (0, 1)
            )
            print(
                f"| {job} | {wall[0]:.1f} | {wall[1]:.1f} | {wall[1] / wall[0]:.2f} "
                f"| {cpu[0]:.1f} | {cpu[1]:.1f} | {cpu[1] / cpu[0]:.2f} "
                f"| {first[0][0]:.2f} s, {first[1][0]:.2f} s |",
                flush=True,
            )
            one.say("on")
            other.say("on")


class Racer:
    """A process in which a commit runs its benchmark, one call at a time."""

    def __init__(self, root: Path, name: str, jobs: list[str]):
        """Start it with the package and the benchmarks below root."""
        env = {**os.environ, "PYTHONPATH": str(root)}
        command = [sys.executable, __file__, "--serve", name, *jobs]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=env, cwd=root, **pipes)

    def __enter__(self) -> "Racer":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def say(self, word: str) -> None:
        print(word, file=self.process.stdin, flush=True)

    def heard(self) -> str:
        """The next line for the referee; what else a benchmark prints is dropped."""
        for line in self.process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
        return ""

    def next_job(self) -> str:
        """The name of the job that is to be raced next; nothing after the last."""
        return self.heard()

    def call(self) -> tuple[float, float]:
        """Seconds of wall and of processor time of one call."""
        self.say("call")
        wall, cpu = self.heard().split()
        return float(wall), float(cpu)


def serve(name: str, jobs: list[str]) -> None:
    """Run a benchmark whose races wait for the referee."""
    import jax

    from benchmarks import runner

    def wait(self, job, ours, peers, **options):
        print(f"{MARK} {job}", flush=True)
        while sys.stdin.readline().strip() == "call":
            start, cpu = time.perf_counter(), time.process_time()
            value = jax.block_until_ready(ours())
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            print(f"{MARK} {wall} {cpu}", flush=True)
        return runner.Timing(0.0, 1.0, value, 0.0)

    runner.Report.race = wait
    warnings.filterwarnings("ignore")
    module = importlib.import_module(f"benchmarks.{name}")
    # What a job compares in the end needs the peers.
    with contextlib.suppress(KeyError, SystemExit):
        sys.argv = [name, *jobs]
        module.main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
