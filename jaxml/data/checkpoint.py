"""Save and load pytrees: parameters, training states, anything made of arrays.

    checkpoint.save("digits.safetensors", fit.params)
    params = checkpoint.load("digits.safetensors")

A file is in the safetensors format, which many programs read: a header of JSON, and
the bytes of the arrays. Its metadata hold how the pytree is built, static fields too,
and the SHA-256 of the whole file. Nothing in it is ever run: there is no pickle.

A file is replaced at once or not at all, whenever the process or the machine stops, and
the one before it is kept beside it, as digits.safetensors.1. A file that is damaged is
found out, and the one before it is loaded in its place, with a warning.
"""

import contextlib
import hashlib
import itertools
import json
import os
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Count
from jaxml.data import _structure

__all__ = ["load", "save"]

DTYPES = {
    "BOOL": np.dtype(bool),
    **{f"I{8 * n}": np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
    "C64": np.dtype("<c8"),
    "BF16": np.dtype(jnp.bfloat16),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
UNKNOWN = "0" * 64  # in place of the checksum while it is taken


class _Damaged(ValueError):
    pass


@_check.host
def save(path: str | os.PathLike[str], tree: Any, *, keep: Count = 2) -> None:
    """Write a pytree to a file, in whose place the old one stays until it is whole.

    Args:
        path: of the file, whose folder is made if there is none.
        tree: arrays, typed keys and Python numbers in dicts, lists, tuples, NamedTuples
            and dataclasses: params, optimiser states, a train.State.
        keep: how many of the last files to keep: path, path.1, … path.(keep - 1).

    Raises:
        OSError: the file cannot be written; the old one is as it was.
        ValueError: a leaf is no array, key or number, or of a dtype that the format
            does not know; two leaves have one name.

    """
    path, keep = Path(path), _check.count("keep", keep)
    parts = _encoded(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # a stale one is written over
    try:
        with part.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        _shift(path, keep)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


@_check.host
def load(path: str | os.PathLike[str], *, like: Any = None) -> Any:
    """The pytree in a file that `save` wrote, bit for bit; or in any safetensors file.

    Args:
        path: of the file. If it is damaged, or gone, the last whole one of path.1,
            path.2 … is loaded, with a warning.
        like: a pytree of the same structure, shapes and dtypes, whose values do not
            matter; what is in the file takes their place. Classes of jaxml and optax
            are made without it; those of others need it.

    Returns arrays of JAX, or of NumPy where those were saved. A file of another program
    gives a dict of NumPy arrays by name, or what is like `like`, by the names of its
    leaves.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no file is whole; like is another pytree, or is needed; an array is
            of float64 and that is not enabled.

    """
    path = Path(path)
    files = [each for each in _versions(path) if each.exists()]
    if not files:
        raise FileNotFoundError(f"path: there is no file {path}")
    faults = [] if files[0] == path else [f"{path} is gone"]
    for file in files:
        try:
            arrays, description = _decoded(file.read_bytes())
        except _Damaged as fault:
            faults.append(f"{file} is damaged: {fault}")
            continue
        if faults:
            warnings.warn(f"{'; '.join(faults)}. Loaded {file}", stacklevel=3)
        return _structure.rebuilt(arrays, description, like)
    raise ValueError(f"path: {'; '.join(faults)}")


# --- bytes ----------------------------------------------------------------------------


def _encoded(tree) -> list[bytes | memoryview]:
    """The bytes of a file, in parts."""
    arrays, description = _structure.taken_apart(tree)
    header: dict[str, Any] = {
        "__metadata__": {"sha256": UNKNOWN, "jaxml": json.dumps(description)}
    }
    parts: list[bytes | memoryview] = []
    end = 0
    # The widest first: each array is then where its dtype asks it to be.
    for name in sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n)):
        array = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype not in CODES:
            raise ValueError(
                f"tree: {name} is of dtype {array.dtype}, which has no code"
            )
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": CODES[array.dtype],
            "shape": array.shape,
            "data_offsets": [begin, end],
        }
        parts.append(array.reshape(-1).view(np.uint8).data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little"), text, *parts]
    checksum = _checksum(parts).encode()
    parts[1] = text.replace(UNKNOWN.encode(), checksum, 1)
    return parts


def _decoded(data: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays of a file by name, and the description of the pytree, or None."""
    try:
        length = int.from_bytes(data[:8], "little")
        text, body = data[8 : 8 + length], memoryview(data)[8 + length :]
        if len(text) != length or length == 0:
            raise _Damaged("its header is cut off")
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        description = None
        if "jaxml" in metadata or "sha256" in metadata:
            checksum = metadata["sha256"].encode()
            blank = text.replace(checksum, UNKNOWN.encode(), 1)
            if _checksum([data[:8], blank, body]).encode() != checksum:
                raise _Damaged("its checksum is wrong")
            description = json.loads(metadata["jaxml"])
        arrays = {name: _array(entry, body) for name, entry in header.items()}
        ends = sorted(entry["data_offsets"][1] for entry in header.values())
        if (ends[-1] if ends else 0) != len(body):
            raise _Damaged("its arrays do not fill it")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as fault:
        if isinstance(fault, _Damaged):
            raise
        raise _Damaged("its header is not that of a safetensors file") from fault
    return arrays, description


def _array(entry, body) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(body):
        raise _Damaged("an array lies beyond its end")
    array = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]])
    return array.reshape(entry["shape"]).copy()


def _checksum(parts) -> str:
    result = hashlib.sha256()
    for part in parts:
        result.update(part)
    return result.hexdigest()


# --- files ----------------------------------------------------------------------------


def _versions(path: Path) -> list[Path]:
    """The file, and those before it, the newest first."""
    older = [
        (int(file.suffix[1:]), file)
        for file in (path.parent.iterdir() if path.parent.is_dir() else ())
        if file.name == path.name + file.suffix and file.suffix[1:].isdecimal()
    ]
    return [path, *(file for _, file in sorted(older))]


def _shift(path: Path, keep: int) -> None:
    """Make path.1 of path, path.2 of path.1 …; path stays until it is replaced."""
    numbered = [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, keep))]
    for old, new in reversed([*itertools.pairwise(numbered[1:])]):
        if old.exists():
            old.replace(new)
    if keep > 1 and path.exists():
        try:
            os.link(path, numbered[1])
        except OSError:  # a file system without links
            path.replace(numbered[1])


def _sync(folder: Path) -> None:
    """Have the names of files on the disk too, where folders can be synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
