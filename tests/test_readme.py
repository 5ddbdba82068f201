"""The README does what it says."""

import inspect
import re
from pathlib import Path

import jaxml

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_page_of_use_runs(capsys, tmp_path, monkeypatch):
    """All code of the README, from top to bottom, in one namespace."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    accuracy = float(capsys.readouterr().out.splitlines()[0])
    assert accuracy > 0.9
    assert int(names["fit"].status) >= 0


def test_every_module_is_in_the_table():
    """And nothing that is not there is."""
    table = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    modules = {name for name in jaxml.__all__ if inspect.ismodule(getattr(jaxml, name))}
    assert table == modules | {"jaxml"}
