"""Compiled programs, and where a user's files are kept."""

import os
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxml import _check


def cache_home() -> Path:
    """The folder of jaxml in the user's cache; RuntimeError if there is no home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and is to be ignored.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "jaxml"


@_check.host
def cache_compiled(folder: Any = None) -> Path:
    """Keep compiled programs in a folder, where the next process finds them.

    Compiling is most of a first call: a second process that makes the same calls, on
    arrays of the same shapes, starts at once. It holds for all of JAX in this process.
    Programs are of one version of XLA and one kind of processor; old ones stay until
    the folder is deleted.

    Args:
        folder: where; None for that of $JAX_COMPILATION_CACHE_DIR if it is set, else
            jaxml/compiled in the user's cache ($XDG_CACHE_HOME or ~/.cache).

    Returns:
        The folder, which is made where it is not there.

    Raises:
        ValueError: a folder that cannot be written, or None where there is no home.

    """
    try:
        if folder is None:
            given = getattr(jax.config, "jax_compilation_cache_dir", None)
            folder = given or cache_home() / "compiled"
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
    except TypeError:
        raise ValueError(f"folder must be a path or None, not {folder!r}") from None
    except RuntimeError:  # a user without HOME whom the system does not know
        raise ValueError("folder must be given: there is no home for a cache") from None
    except OSError as error:
        raise ValueError(f"folder cannot be made: {error}") from None
    if not os.access(path, os.W_OK):
        raise ValueError(f"folder {path} cannot be written")
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX settles at the first program whether it keeps any.
    compilation_cache.reset_cache()
    return path
