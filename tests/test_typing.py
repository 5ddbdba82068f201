"""What type checkers say to users' code: nothing, but where it is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "tests" / "user_code.py"
WRONG = [i for i, s in enumerate(PAGE.read_text().splitlines(), 1) if "# wrong" in s]
QUIET = "--follow-imports=silent", "--disable-error-code=import-untyped"  # optax


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(page: Path) -> list[int]:
    """The lines of a page that are refused."""
    said = run("mypy", "--config-file=", *QUIET, str(page))
    return [int(line) for line in re.findall(r"\.py:(\d+): error", said)]


def pyright(page: Path) -> list[int]:
    """The lines of a page that are refused."""
    said = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(page))
    found = json.loads(said)["generalDiagnostics"]
    errors = [each for each in found if each["severity"] == "error"]
    return [each["range"]["start"]["line"] + 1 for each in errors]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_wrong_lines_and_no_others_are_refused(checker):
    assert sorted(set(checker(PAGE))) == WRONG


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_readme_has_no_errors(checker, tmp_path):
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    page = tmp_path / "readme.py"
    page.write_text("\n".join(blocks))
    assert not checker(page)
