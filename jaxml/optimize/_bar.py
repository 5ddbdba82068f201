"""The progress of a run, for a person at a terminal."""

import sys
import time
from collections.abc import Mapping

from jaxml import _check


class Bar:
    """A bar of tqdm if it is installed, else a line an epoch; silent off a terminal."""

    def __init__(self, total: int, done: int = 0):
        """Say how many epochs there will be, and are."""
        self.total, self.done, self.bar = total, done, None
        self.start = time.perf_counter()
        # None where whoever called has closed it.
        self.visible = sys.stderr is not None and sys.stderr.isatty()
        if self.visible:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(
                total=total, initial=done, unit="epoch", dynamic_ncols=True, leave=False
            )

    def __enter__(self) -> "Bar":
        """Use it in a with statement, so that it is closed."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the terminal clean, whatever happened."""
        if self.bar is not None:
            self.bar.close()

    def show(self, record: Mapping[str, float]) -> None:
        """One more epoch, and its figures."""
        self.done += 1
        figures = {name: f"{value:.4g}" for name, value in record.items()}
        if self.bar is not None:
            self.bar.set_postfix(figures, refresh=False)
            self.bar.update()
        elif self.visible:
            fields = ", ".join(f"{name} {value}" for name, value in figures.items())
            seconds = time.perf_counter() - self.start
            line = f"epoch {self.done}/{self.total}: {fields} ({seconds:.1f} s)"
            print(line, file=sys.stderr, flush=True)


@_check.host
def write(line: str) -> None:
    """Print a line to stdout, if it is open: at once, above the bar if there is one."""
    if sys.stdout is None:
        return
    try:
        from tqdm import tqdm
    except ImportError:
        print(line)
    else:
        tqdm.write(line)
    sys.stdout.flush()
