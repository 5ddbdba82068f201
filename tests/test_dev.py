"""dev.py and the packaging: nothing here installs anything or needs the network."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dev

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SOURCES = sorted((ROOT / "jaxml").rglob("*.py"))

CORE = {"jax", "jaxlib", "optax", "chex"}
ANYWHERE = {*sys.stdlib_module_names, *CORE, "numpy", "jaxml"}
INSIDE_FUNCTIONS = {"matplotlib", "tqdm", "pooch"}  # extras: they may not be installed


# --- The environment ------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone in which installing only takes notes of what would be done, in order."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "PYTHON", tmp_path / ".venv" / "python")
    monkeypatch.setattr(dev, "STAMP", tmp_path / ".venv" / "jaxml-stamp")
    done = []

    def make_venv():
        done.append("venv")
        dev.VENV.mkdir(exist_ok=True)
        dev.PYTHON.touch()

    monkeypatch.setattr(dev, "make_venv", make_venv)
    monkeypatch.setattr(dev, "install", done.append)
    return done


def test_each_level_is_installed_once(clone):
    for level in ("demo", "demo", "test", "demo", "test"):
        dev.prepare(level)
    assert clone == ["venv", "demo", "test"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(clone, name):
    dev.prepare("test")
    with (dev.ROOT / name).open("a") as file:
        file.write("# changed\n")
    dev.prepare("demo")
    assert clone == ["venv", "test", "demo"]


def test_another_python_gets_a_new_environment(clone, monkeypatch):
    dev.prepare("demo")
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    dev.prepare("demo")
    assert clone == ["venv", "demo"] * 2


def test_a_moved_environment_is_made_again(clone, tmp_path):
    dev.prepare("demo")
    dev.STAMP.write_text(dev.STAMP.read_text().replace(str(tmp_path), "/elsewhere"))
    dev.prepare("demo")
    assert clone == ["venv", "demo"] * 2


@pytest.mark.parametrize("damage", ["no stamp", "no python", "not a stamp"])
def test_a_damaged_environment_is_made_again(clone, damage):
    dev.prepare("demo")
    if damage == "no stamp":
        dev.STAMP.unlink()
    elif damage == "no python":
        dev.PYTHON.unlink()
    else:
        dev.STAMP.write_bytes(b"\xff\x00 demo")
    dev.prepare("demo")
    dev.prepare("demo")
    assert clone == ["venv", "demo"] * 2


@pytest.mark.parametrize("before", [None, "demo"])
def test_an_interrupted_installation_is_begun_again(clone, monkeypatch, before):
    if before:
        dev.prepare(before)

    def interrupt(level):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dev, "install", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dev.prepare("test")
    clone.clear()
    dev.prepare("test")
    assert clone == ["venv", "test"]


@pytest.mark.parametrize("uv", [None, "/bin/uv"])
@pytest.mark.parametrize("level", dev.LEVELS)
def test_what_is_installed(monkeypatch, uv, level):
    commands = []
    monkeypatch.setattr(dev, "must", lambda *words: commands.append(words))
    monkeypatch.setattr(dev.shutil, "which", lambda name: uv)
    dev.install(level)
    (words,) = commands
    assert (words[0] == uv) == bool(uv)
    assert words[words.index("-c") + 1] == "constraints.txt"
    assert words[words.index("-e") + 1] == f".[{dev.EXTRAS[level]}]"
    assert ("hypothesis" in words) == (level == "test")


def test_venv_module_missing(monkeypatch):
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    monkeypatch.setattr(dev, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"sudo apt-get install -y python3-venv$"):
        dev.make_venv()


def test_a_failed_installation_is_one_line():
    with pytest.raises(SystemExit, match=r"network.*-c raise SystemExit\(3\)$"):
        dev.must(sys.executable, "-c", "raise SystemExit(3)")


def test_data_beside_the_repository_is_the_default(clone, monkeypatch):
    environment = {}
    data = dev.ROOT / "shared" / "data"
    data.mkdir(parents=True)
    dev.point_to_data(environment)
    assert environment == {}

    monkeypatch.setattr(dev, "ROOT", dev.ROOT / "clone")
    dev.point_to_data(environment)
    assert environment == {"JAXML_DATA": str(data)}

    environment = {"JAXML_DATA": "mine"}
    dev.point_to_data(environment)
    assert environment == {"JAXML_DATA": "mine"}


# --- The commands ---------------------------------------------------------------------


def call(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "dev.py", *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(arguments):
    answer = call(*arguments)
    assert answer.returncode == 0
    for command in dev.COMMANDS:
        assert f"python3 dev.py {command}" in answer.stdout


def test_unknown_command():
    answer = call("tset")
    assert answer.returncode == 1
    assert answer.stderr == (
        "dev.py: there is no command 'tset'; there are demo, test, bench, format\n"
    )


def test_unknown_benchmark():
    with pytest.raises(SystemExit, match="bench needs one of these names"):
        dev.bench(["no such"])


def test_an_old_python_says_so(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 6, 15, "final", 0))
    monkeypatch.setattr(dev, "works", lambda python: False)
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer; this is"):
        dev.main(["demo"])


def test_an_old_python_hands_over_to_one_that_works(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 6, 15, "final", 0))
    monkeypatch.setattr(dev, "works", lambda python: python == "python3.12")
    monkeypatch.setattr(dev.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(dev, "run", lambda *words: [str(word) for word in words])
    expected = ["/bin/python3.12", str(ROOT / "dev.py"), "test", "-x"]
    assert dev.main(["test", "-x"]) == expected


@pytest.mark.skipif(os.name == "nt", reason="writes a shell script")
def test_a_shim_that_does_not_run_does_not_count(monkeypatch, tmp_path):
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not dev.works("python3.12")
    assert not dev.works("python3.13")


def test_dev_can_be_read_by_an_old_python():
    ast.parse((ROOT / "dev.py").read_text("utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-x"], ["pytest", "-m", "not long", "-x"]),
        (["--all", "-k", "ridge"], ["pytest", "-k", "ridge"]),
    ],
)
def test_with_options_only_pytest_runs(monkeypatch, options, expected):
    monkeypatch.setattr(dev, "prepare", lambda level: None)
    monkeypatch.setattr(dev, "starts", lambda env, flags: True)
    monkeypatch.setattr(dev, "run", lambda python, flag, *words, env: list(words))
    assert dev.test(options) == expected


def test_the_first_part_that_fails_ends_the_test(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(dev, "prepare", lambda level: None)
    monkeypatch.setattr(dev, "starts", lambda env, flags: True)
    monkeypatch.setattr(
        dev, "run", lambda *words, env: ran.append(words) or 2 * len(ran) - 2
    )
    with pytest.raises(SystemExit) as stopped:
        dev.test([])
    assert stopped.value.code == 2
    assert len(ran) == 2
    assert re.search(
        r"== style passed in .*\n\n== format\n== format FAILED in",
        capsys.readouterr().out,
    )


def test_flags_are_passed_where_xla_knows_them(monkeypatch):
    """A flag that this XLA does not know would end every process that imports jax."""
    monkeypatch.setattr(dev, "PYTHON", sys.executable)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    flags = ("--xla_no_such_flag=1", "--xla_dump_to=")
    monkeypatch.setattr(dev, "QUICK_FLAGS", flags)
    flags = dev.quick_compilation()["XLA_FLAGS"]
    assert flags == "--xla_force_host_platform_device_count=2 --xla_dump_to="


def test_programs_are_kept_where_the_user_says(monkeypatch):
    monkeypatch.setattr(dev, "QUICK_FLAGS", ())
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = dev.quick_compilation()["JAX_COMPILATION_CACHE_DIR"]
    assert Path(folder).parent == dev.VENV
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    assert dev.quick_compilation()["JAX_COMPILATION_CACHE_DIR"] == "mine"


# --- The package ----------------------------------------------------------------------


def test_core_dependencies_are_four():
    names = [
        re.match(r"[\w-]+", line)[0] for line in PROJECT["project"]["dependencies"]
    ]
    assert sorted(names) == sorted(CORE)
    assert not any("<" in line for line in PROJECT["project"]["dependencies"])


def test_constraints_pin_and_name_no_host():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert "://" not in text
    assert all("==" in line for line in text.splitlines())
    assert "jax==0.10.2 ; python_full_version < '3.12'" in text


TYPES = "TYPE_CHECKING"  # a branch that only the type checker takes


def imports(node, late=False):
    """Every (module, late) imported below `node`; late: not when it is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield from ((f"{child.module}.{alias.name}", late) for alias in child.names)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            types = isinstance(child, ast.If) and ast.unparse(child.test) == TYPES
            yield from imports(child, late or function or types)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path):
    tree = ast.parse(path.read_text("utf-8"))
    for module, late in imports(tree):
        top = module.split(".")[0]
        assert top in ANYWHERE or (late and top in INSIDE_FUNCTIONS), module
    modules = {module for module, _ in imports(tree)}
    attributes = {
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }
    assert not [name for name in modules | attributes if name.startswith("jax._src")]


def test_imports_are_all_seen():
    tree = ast.parse(
        "import a.b, c\nfrom d.e import f\nfrom . import g\nclass H:\n  import i\n"
        "def j():\n  import k\n  if 1:\n    from m import n\n"
        "if TYPE_CHECKING:\n  import o\nif 1:\n  import p\n"
    )
    assert list(imports(tree)) == [
        ("a.b", False), ("c", False), ("d.e.f", False), ("i", False),
        ("k", True), ("m.n", True), ("o", True), ("p", False),
    ]  # fmt: skip
