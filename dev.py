#!/usr/bin/env python3
"""Run jaxml from a fresh clone: this file needs Python 3.11 or newer and nothing else.

  python3 dev.py demo [options]         train a network on real digits and show it
  python3 dev.py test                   style, types, tests, notebooks: what must hold
  python3 dev.py test --all             the same, with the tests marked long
  python3 dev.py test [pytest options]  only pytest, say: test -x tests/test_dev.py
  python3 dev.py bench NAME [options]   run benchmarks/NAME.py
  python3 dev.py format                 put the source into the form that test expects

The first call makes .venv beside this file and installs into it what the command needs,
in the versions of constraints.txt, with uv where there is one, else with pip. Later
calls start at once. To begin again, delete .venv.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

OLDEST = (3, 11)
OTHERS = ("python3.14", "python3.13", "python3.12", "python3.11")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "jaxml-stamp"  # written last: says what is installed, and from what

EXTRAS = {"demo": "plot,progress", "test": "plot,progress,datasets"}
LEVELS = tuple(EXTRAS)  # each holds what the one before it holds

QUICK_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)

SAME_CELLS = """
import sys, pathlib, jupytext
def cells(path):
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
old = [n for n in sys.argv[1:] if cells(n) != cells(pathlib.Path(n).with_suffix(".py"))]
sys.exit(f"not made from the .py beside it: {', '.join(old)}" if old else 0)
"""


# --- Saying and running ---------------------------------------------------------------


def say(text):
    print(text, flush=True)  # at once, before what a command prints


def stop(text):
    raise SystemExit("dev.py: " + text)


def run(*command, apart=False, env=None):
    """The exit status of a command.

    Ctrl-C reaches the command too, which ends in its own way before we do; one that
    runs `apart` is ended from here, before it prints where it was.
    """
    words = [str(word) for word in command]
    alone = {"process_group": 0, "stdin": subprocess.DEVNULL} if apart else {}
    child = subprocess.Popen(words, cwd=str(ROOT), env=env, **alone)
    interrupted = False
    while True:
        try:
            status = child.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            if apart:
                os.killpg(child.pid, signal.SIGTERM)
    if interrupted:
        raise KeyboardInterrupt
    return status if status >= 0 else 128 - status  # killed: as a shell counts


def must(*command):
    if run(*command, apart=os.name != "nt"):
        line = " ".join(str(word) for word in command)
        stop(f"this command failed (installing needs the network): {line}")


# --- The environment ------------------------------------------------------------------


def stamp(level):
    """What the stamp reads when `level` is installed from the files as they are now."""
    pins = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        pins.update((ROOT / name).read_bytes())
    return f"{level}\n{place()}\n{pins.hexdigest()}\n"


def place():
    """What no environment outlives: its folder and its minor version of Python."""
    return "Python {}.{} in {}".format(*sys.version_info[:2], ROOT)


def found():
    """The stamp of a finished environment that can run, else nothing."""
    try:
        return STAMP.read_text("utf-8", "replace") if PYTHON.exists() else ""
    except OSError:
        return ""


def prepare(level):
    """Bring .venv to `level`: at no cost when its stamp says that it is there."""
    enough = LEVELS[LEVELS.index(level) :]
    if found() in [stamp(each) for each in enough]:
        return
    if place() in found().splitlines():
        STAMP.unlink()  # else an interrupted installation would pass for a finished one
    else:
        make_venv()
    install(level)
    part = STAMP.with_suffix(".part")
    part.write_text(stamp(level), "utf-8")
    part.replace(STAMP)


def make_venv():
    uv = shutil.which("uv")
    if uv:
        must(uv, "venv", "-q", "--clear", "--seed", "--python", sys.executable, VENV)
    elif find_spec("venv") is None or find_spec("ensurepip") is None:
        stop(
            "this Python cannot make a virtual environment. On Debian or Ubuntu first:"
            "  sudo apt-get install -y python3-venv"
        )
    else:
        must(sys.executable, "-m", "venv", "--clear", VENV)


def install(level):
    uv = shutil.which("uv")
    tool = [uv, "pip"] if uv else [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    into = ["--python", PYTHON] if uv else []
    packages = ["-e", f".[{EXTRAS[level]}]"]
    if level == "test":
        packages += development()
    say(f"installing what {level} needs into .venv: once, from the network, a minute")
    must(*tool, "install", "-q", *into, "-c", "constraints.txt", *packages)


def development():
    """The development requirements, read here because pip 23 does not know groups."""
    import tomllib

    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["dependency-groups"]["dev"]


def point_to_data(environment):
    """Data sets that lie beside the repository need not be downloaded."""
    data = ROOT.parent / "shared" / "data"
    if data.is_dir():
        environment.setdefault("JAXML_DATA", str(data))


def works(python):
    """Whether that command is here, runs (a shim may not) and is new enough."""
    path = shutil.which(python)
    check = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    return path and subprocess.call([path, "-c", check], stderr=subprocess.DEVNULL) == 0


def with_another_python(arguments):
    for python in filter(works, OTHERS):
        return run(shutil.which(python), ROOT / "dev.py", *arguments)
    stop(
        f"jaxml needs Python 3.11 or newer; this is {sys.version.split()[0]}, "
        f"and none of {', '.join(OTHERS)} is here"
    )


# --- The commands ---------------------------------------------------------------------


def demo(options):
    prepare("demo")
    return run(PYTHON, "-m", "jaxml", *options)


def test(options):
    prepare("test")
    quick = "--all" not in options
    env = quick_compilation() if quick else None
    tests = ["pytest", "-m", "not long"] if quick else ["pytest"]
    options = [option for option in options if option != "--all"]
    if options:
        return run(PYTHON, "-m", *tests, *options, env=env)
    start = time.perf_counter()
    step("style", "-m", "ruff", "check")
    step("format", "-m", "ruff", "format", "--check")
    step("types", "-m", "mypy")
    step("tests", "-m", *tests, "-n", "2", env=env)
    notebooks = sorted(ROOT.glob("notebooks/*.ipynb"))
    if notebooks:
        step("notebooks run", "-m", "pytest", "-n", "2", "--nbmake", "notebooks/")
        pairs = [path for path in notebooks if path.with_suffix(".py").exists()]
        step("notebooks in step", "-c", SAME_CELLS, *pairs)
    say(f"\nall passed in {time.perf_counter() - start:.0f} s")
    return 0


def quick_compilation():
    """The environment in which XLA compiles fast, and keeps its programs in .venv.

    Compiling is what tests cost: the flags halve it, and a second run hardly compiles.
    --all tests what users run. XLA ends a process for a flag that it does not know.
    """
    programs = {
        "JAX_COMPILATION_CACHE_DIR": str(VENV / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    env = {**programs, **os.environ}
    for flag in QUICK_FLAGS:
        flags = f"{env.get('XLA_FLAGS', '')} {flag}".strip()
        env = {**env, "XLA_FLAGS": flags} if starts(env, flags) else env
    return env


def starts(env, flags):
    """Whether XLA starts with these flags."""
    probe = [str(PYTHON), "-c", "import jax; jax.devices()"]
    env = {**env, "XLA_FLAGS": flags}
    return subprocess.run(probe, env=env, capture_output=True).returncode == 0


def step(name, *command, env=None):
    """Run one part of the tests; the first that fails ends them."""
    say(f"\n== {name}")
    start = time.perf_counter()
    status = run(PYTHON, *command, env=env)
    seconds = time.perf_counter() - start
    say(f"== {name} {'FAILED' if status else 'passed'} in {seconds:.1f} s")
    if status:
        raise SystemExit(status)


def bench(options):
    names = [path.stem for path in sorted(ROOT.glob("benchmarks/[!_]*.py"))]
    if not options or options[0] not in names:
        stop(f"bench needs one of these names: {', '.join(names) or 'none yet'}")
    prepare("test")
    return run(PYTHON, "-m", f"benchmarks.{options[0]}", *options[1:])


def reformat(options):
    if options:
        stop("format takes no options")
    prepare("test")
    run(PYTHON, "-m", "ruff", "check", "--fix", "--silent")
    run(PYTHON, "-m", "ruff", "format")
    return run(PYTHON, "-m", "ruff", "check")


COMMANDS = {"demo": demo, "test": test, "bench": bench, "format": reformat}


def main(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(__doc__.strip())
        return 0
    command, options = arguments[0], arguments[1:]
    if command not in COMMANDS:
        stop(f"there is no command {command!r}; there are {', '.join(COMMANDS)}")
    if sys.version_info < OLDEST:
        return with_another_python(arguments)
    point_to_data(os.environ)
    return COMMANDS[command](options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
