"""The README does what it says."""

import re
from pathlib import Path

import jaxml
from tests.common import walk

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_page_of_use_runs(capsys):
    """All code of the README, from top to bottom, in one namespace."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    accuracy = float(capsys.readouterr().out.splitlines()[0])
    assert accuracy > 0.9
    assert int(names["fit"].status) >= 0


def test_every_module_is_in_the_table():
    """And nothing that is not there is."""
    table = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    public = {name for name, value in vars(jaxml).items() if name in table}
    assert table - {"jaxml"} <= public
    rooms = {m.__name__.split(".")[-1] for m in walk.modules() if m is not jaxml}
    shown = rooms & {name for name in vars(jaxml) if not name.startswith("_")}
    packages = {"data", "evaluate", "networks", "physics", "reduction", "regression"}
    assert shown - packages <= table
