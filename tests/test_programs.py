"""Compiled programs on disk: a second process finds what the first one made."""

import os
import subprocess
import sys

import jax
import pytest

import jaxml

COUNT = """
import jax
import jaxml

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
jax.jit(lambda x: x + 1)(1.0)  # JAX has settled that it keeps nothing
folder = jaxml.cache_compiled()
print(folder)
jax.jit(lambda x: jax.numpy.sin(x) ** 2)(1.0)
print(sum(name.endswith("compilation_cache/cache_hits") for name in hits))
"""


def test_a_second_process_finds_the_programs(tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    answers = [
        subprocess.run(
            [sys.executable, "-c", COUNT],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    folder = tmp_path / "jaxml" / "compiled"
    assert answers == [[str(folder), "0"], [str(folder), "1"]]
    assert any(folder.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="^folder cannot be made"):
        jaxml.cache_compiled(file / "below")
    with pytest.raises(ValueError, match="^folder must be a path or None, not 3"):
        jaxml.cache_compiled(3)


def test_no_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    kept = jax.config.jax_compilation_cache_dir

    def nowhere():
        raise RuntimeError

    monkeypatch.setattr("pathlib.Path.home", nowhere)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with pytest.raises(ValueError, match="^folder must be given: there is no home"):
            jaxml.cache_compiled()
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)
