"""The course's data: digits that come with jaxml, and checked downloads.

A file is looked for in `$JAXML_DATA/<set>/`, then in the user's cache
(`$XDG_CACHE_HOME` or `~/.cache`, there `jaxml/<set>/`), and is else downloaded into the
cache, with the extra `jaxml[datasets]`. Whatever its source, its SHA-256 is compared
with the one written here before a byte of it is used.

All of them give NumPy arrays, uint8 pixels as they are on disk, unless a `scale` is
given: they are then multiplied by it, 1/255 for [0, 1]. Such floats, and ratings, are
of JAX's default width: float32, or float64 under jax.enable_x64.
"""

import hashlib
import importlib.util
import io
import math
import os
import struct
import sys
import tempfile
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array, Key
from jaxml._programs import cache_home
from jaxml.physics import ising, onsager

__all__ = [
    "FILES",
    "Data",
    "DataError",
    "File",
    "MovieLens",
    "Spins",
    "digits",
    "fashion_mnist",
    "ising_samples",
    "mnist",
    "movielens_100k",
    "wheat_seeds",
]

LIMIT = 1 << 26  # bytes; no file here is larger when it is decompressed

TEMPERATURES = tuple(round(1.6 + 0.1 * i, 1) for i in range(14))  # of `ising_samples`


class Data(NamedTuple):
    """Examples and their labels."""

    x: np.ndarray  # (m, n) uint8 or floats, one row per example
    y: np.ndarray  # (m,) int32 labels, 0…k-1


class MovieLens(NamedTuple):
    """Ratings of films, and the folds they were published with."""

    user: np.ndarray  # (100000,) int32, 0…942
    item: np.ndarray  # (100000,) int32, 0…1681
    rating: np.ndarray  # (100000,) floats, 1…5
    time: np.ndarray  # (100000,) int64, seconds since 1970
    titles: tuple[str, ...]  # of the 1,682 items, with the year
    genres: np.ndarray  # (1682, 19) uint8, 0 or 1
    test: np.ndarray  # (5, 100000) bool: what each fold holds out; the rest is its base


class Spins(NamedTuple):
    """Configurations of Ising spins, and where each was drawn."""

    x: np.ndarray  # (m, size²) int8, ±1, one lattice per row
    y: np.ndarray  # (m,) int32, 0 below the critical temperature, 1 above
    temperature: np.ndarray  # (m,) float64


class File(NamedTuple):
    """A file as it was published."""

    name: str  # of the file
    sha256: str  # of its bytes, in hexadecimal digits
    folders: tuple[str, ...]  # addresses, tried in this order, to which name is added


class DataError(ValueError):
    """A data file that is damaged, or that is not to be had."""


MNIST = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
FASHION = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
SEEDS = ("https://raw.githubusercontent.com/jbrownlee/Datasets/master/",)
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

FILES = {
    "mnist": tuple(
        File(name, sha256, MNIST)
        for name, sha256 in zip(
            NAMES,
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        )
    ),
    "fashion-mnist": tuple(
        File(name, sha256, FASHION)
        for name, sha256 in zip(
            NAMES,
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        )
    ),
    "wheat-seeds": (
        File(
            "wheat-seeds.csv",
            "8dbd1853a4439afc113cfe07f290422c7ce3fe48745d71f3f7eaa027cd38fd6e",
            SEEDS,
        ),
    ),
}
MOVIELENS = tuple(
    File(name, sha256, ())
    for name, sha256 in (
        ("u.data", "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"),
        ("u.item", "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
        ("u1.test", "18c6014a4b2c7324f250a63f8904a7b16b2b19f911129e346141507b0cbac950"),
        ("u2.test", "4de658d1e04ed9104629509a2e2528fce833ac8e048280183f1df167632038c3"),
        ("u3.test", "0f548b51c78327de4c156461d3e430b7e5579fe2b5681586a59416e48fd35f6d"),
        ("u4.test", "7c02ad0a1e7ab1083c8b9d4b627203a051dd7b5eab46d99fa44de33470de8db9"),
        ("u5.test", "351cc52e0d15b6c721466276fc24671d40936899e3d01fadeaf312915b8c5634"),
    )
)
ARCHIVE = File(
    "ml-100k.zip",
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ("https://files.grouplens.org/datasets/movielens/",),
)
DIGITS = File(
    "digits.npz",
    "f10b077e7e3037d11006b85b6b71a63e15b2bf746d91c4e4122e42d304e5e54b",
    (),
)


@_check.host
def digits(*, scale: float | None = None) -> Data:
    """1,797 handwritten digits of 8 x 8 pixels: x (1797, 64), 0…16; y 0…9.

    They come with jaxml; nothing is downloaded. The test set of "Optical recognition of
    handwritten digits", written by 13 people who wrote none of its training set, in the
    original order: E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository,
    CC BY 4.0.

    Args:
        scale: None for uint8; 1/16 for floats in [0, 1].

    Raises:
        ValueError: a scale that is not a number.
        DataError: a damaged installation.

    """
    factor = _scale(scale)
    result = resources.files("jaxml.data").joinpath(DIGITS.name)
    content = result.read_bytes()
    _verify(content, DIGITS, str(result))
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return Data(_scaled(file["x"], factor), file["y"].astype(np.int32))


@_check.host
def mnist(*, scale: float | None = None) -> tuple[Data, Data]:
    """MNIST's 60,000 and 10,000 digits of 28 x 28 pixels: x (m, 784), y 0…9.

    Y. LeCun, C. Cortes and C. Burges (1998); CC BY-SA 3.0 as its mirrors state.

    Args:
        scale: None for uint8, 0…255; 1/255 for floats in [0, 1]; 1/256 for the numbers
            of Nielsen's book.

    Returns:
        (train, test). Nielsen trains on train's first 50,000 rows and validates on the
        last 10,000.

    Raises:
        ValueError: a scale that is not a number.
        DataError: a damaged file, or one neither cached nor downloadable.

    """
    return _images("mnist", _scale(scale))


@_check.host
def fashion_mnist(*, scale: float | None = None) -> tuple[Data, Data]:
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes, laid out as MNIST's digits.

    The labels: 0 T-shirt, 1 trousers, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt,
    7 sneaker, 8 bag, 9 ankle boot. H. Xiao, K. Rasul and R. Vollgraf (2017), Zalando
    SE; MIT licence. Arguments, result and errors as in `mnist`.
    """
    return _images("fashion-mnist", _scale(scale))


@_check.host
def wheat_seeds() -> Data:
    """210 kernels of wheat: x (210, 7) float64, y 0…2, 70 of each variety.

    The columns: area, perimeter, compactness, length, width, asymmetry, length of the
    groove (mm, mm²); the varieties: Kama, Rosa, Canadian (1…3 in the file).
    M. Charytanowicz et al. (2010), "seeds", UCI Machine Learning Repository, CC BY 4.0,
    in J. Brownlee's copy, which repairs the tabs of the original.

    Raises:
        DataError: a damaged file, or one neither cached nor downloadable.

    """
    (file,) = FILES["wheat-seeds"]
    content = _read("wheat-seeds", file)
    try:
        table = np.loadtxt(io.StringIO(content.decode("ascii")), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{file.name} is not a table of numbers: {error}") from None
    return Data(table[:, :-1], table[:, -1].astype(np.int32) - 1)


@_check.host
def movielens_100k() -> MovieLens:
    """MovieLens 100k: 100,000 ratings, 1…5, of 1,682 films by 943 people, 1997-1998.

    The five folds are those published, u1 … u5: disjoint test sets of 20,000. The
    licence is for research, and forbids to redistribute the data and to use them
    commercially without permission: jaxml comes without them, and so should what you
    publish. F. M. Harper and J. A. Konstan (2015), GroupLens, University of Minnesota.

    Files are looked for one by one, u.data, u.item, u1.test … u5.test, in
    `$JAXML_DATA/ml-100k`; else the official archive is downloaded.

    Returns:
        MovieLens; users and items count from 0, in the order of u.data.

    Raises:
        DataError: a damaged file, or one neither cached nor downloadable.

    """
    data, items, *tests = (_member("ml-100k", ARCHIVE, file) for file in MOVIELENS)
    user, item, rating, time = _whole_numbers(data, "u.data").T
    lines = [line.split("|") for line in items.decode("latin-1").splitlines()]
    pairs = user * len(lines) + item
    held = [_whole_numbers(test, f"u{i}.test").T for i, test in enumerate(tests, 1)]
    test = [np.isin(pairs, u * len(lines) + i) for u, i, _, _ in held]
    return MovieLens(
        (user - 1).astype(np.int32),
        (item - 1).astype(np.int32),
        rating.astype(jnp.result_type(float)),
        time,
        tuple(line[1] for line in lines),
        np.array([line[5:] for line in lines]).astype(np.uint8),
        np.array(test),
    )


def _whole_numbers(content: bytes, name: str) -> np.ndarray:
    """The lines of a file as (m, 4) integers."""
    try:
        return np.array(content.split(), np.int64).reshape(-1, 4)
    except ValueError as error:
        raise DataError(f"{name} is not a table of integers: {error}") from None


@_check.host
def ising_samples(
    key: Key,
    *,
    size: int = 40,
    temperatures: Array = TEMPERATURES,
    count: int = 100,
    sweeps: int = 50,
) -> Spins:
    """Ising spins on size x size periodic lattices, x (m, size²), drawn here.

    Of m = count · k independent lattices each starts in order and takes so many steps
    of `ising.swendsen_wang`, after which up and down are equally likely. The defaults,
    temperatures around T_c = 2.269 J, are those of Wang (2016), from which principal
    components find the magnetisation without being told.

    Args:
        key: jax.random.key(seed).
        size: rows and columns of a lattice.
        temperatures: (k,) T > 0 in units of J.
        count: lattices at each of them.
        sweeps: steps of each; 50 forget the start also at T_c for size 40.

    Raises:
        ValueError: no temperatures, or not above 0; counts below 1.

    """
    _check.key(key)
    size, count = _check.count("size", size), _check.count("count", count)
    _check.array("temperatures", temperatures, False)
    t = np.asarray(temperatures, np.float64)
    if t.ndim != 1 or not t.size:
        raise ValueError(f"temperatures has shape {t.shape}, not (k,)")
    if not (np.isfinite(t).all() and t.min() > 0):
        raise ValueError("temperatures must be finite and above 0")
    start = np.ones((count, size, size), np.int8)
    options: dict[str, Any] = {"sweeps": sweeps, "method": "swendsen_wang"}
    # One temperature after another: a lattice in the cache is several times as fast.
    runs = [
        ising.sample(key, start, temperature=t, **options).spins
        for key, t in zip(jax.random.split(key, len(t)), t)
    ]
    x = np.concatenate(runs).reshape(-1, size**2)
    t = np.repeat(t, count)
    return Spins(x, (t > onsager.CRITICAL_TEMPERATURE).astype(np.int32), t)


# --- numbers -----------------------------------------------------------------------


def _scale(scale: Any) -> np.ndarray | None:
    if scale is None:
        return None
    try:
        number = np.asarray(float(scale), jnp.result_type(float))
    except (TypeError, ValueError):
        raise ValueError(f"scale must be a number or None, not {scale!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"scale must be finite, not {scale!r}")
    return number


def _scaled(x: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    return x if scale is None else np.multiply(x, scale, dtype=scale.dtype)


def _images(folder: str, scale: np.ndarray | None) -> tuple[Data, Data]:
    parts = []
    for images, labels in (FILES[folder][:2], FILES[folder][2:]):
        x = _idx(_read(folder, images), images.name)
        y = _idx(_read(folder, labels), labels.name)
        if y.shape != x.shape[:1]:
            raise DataError(f"{labels.name} is of shape {y.shape}, not {x.shape[:1]}")
        rows = x.reshape(len(x), math.prod(x.shape[1:]))
        parts.append(Data(_scaled(rows, scale), y.astype(np.int32)))
    return parts[0], parts[1]


def _idx(content: bytes, name: str) -> np.ndarray:
    """Unsigned bytes in IDX, gzipped or not: 0 0 8 ndim, sizes (big-endian), entries.

    Any bytes give an array or a DataError, and no allocation above LIMIT.
    """
    if content[:2] == b"\x1f\x8b":
        content = _gunzip(content, name)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise DataError(f"{name} is not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{name} ends in its header")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    # Python's integers do not overflow, as a product of four sizes could.
    if math.prod(shape) != len(content) - start:
        held = len(content) - start
        raise DataError(f"{name} says it has shape {shape}, and holds {held} bytes")
    if 0 in shape:
        raise DataError(f"{name} is empty: it has shape {shape}")
    # A copy, for an array over bytes cannot be written to.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _gunzip(content: bytes, name: str) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        result = stream.decompress(content, LIMIT + 1)
    except zlib.error as error:
        raise DataError(f"{name} is a damaged gzip file: {error}") from None
    if len(result) > LIMIT:
        raise DataError(f"{name} holds more than {LIMIT} bytes when decompressed")
    if not stream.eof:
        raise DataError(f"{name} is a gzip file cut short")
    if stream.unused_data:
        raise DataError(f"{name} goes on after the end of its gzip stream")
    return result


# --- files -------------------------------------------------------------------------


def _read(folder: str, file: File) -> bytes:
    """What the file holds, verified; downloaded first if it is nowhere."""
    if own := _own(folder, file):
        return _open(own, file)
    try:
        path = cache_home() / folder / file.name
    except RuntimeError:  # a user without HOME whom the system does not know
        raise DataError(
            f"{file.name} is not at hand, and there is no home folder for a cache: set "
            f"JAXML_DATA to the folder that holds {folder}/{file.name}"
        ) from None
    if not _there(path):
        _download(file, path)
    return _open(path, file)


def _own(folder: str, file: File) -> Path | None:
    """The file's path in JAXML_DATA, if it is there."""
    if not (own := os.environ.get("JAXML_DATA")):
        return None
    path = Path(own) / folder / file.name
    return path if _there(path) else None


def _there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a folder that may not be searched
        raise DataError(f"{path} cannot be read: {error}") from None
    return True


def _member(folder: str, archive: File, file: File) -> bytes:
    """A file of an archive, verified; or from the folder, if it was unpacked there."""
    if own := _own(folder, file):
        return _open(own, file)
    name = f"{folder}/{file.name}"
    try:
        # By its exact name, and never to disk: an archive may name any place.
        with (
            zipfile.ZipFile(io.BytesIO(_read(folder, archive))) as members,
            members.open(name) as stream,
        ):
            content = stream.read(LIMIT + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{archive.name} holds no readable {name}: {error}") from None
    _verify(content, file, f"{name} of {archive.name}")
    return content


def _open(path: Path, file: File) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    try:
        _verify(content, file, str(path))
    except DataError as error:
        advice = "it is not used; remove it to have it downloaded again"
        raise DataError(f"{error}; {advice}") from None
    return content


def _verify(content: bytes, file: File, where: str) -> None:
    result = hashlib.sha256(content).hexdigest()
    if result != file.sha256:
        raise DataError(
            f"{where} is damaged: its SHA-256 is {result}, not {file.sha256}"
        )


def _download(file: File, path: Path) -> None:
    """Fetch the file from the first address that gives the right one."""
    if importlib.util.find_spec("pooch") is None:
        raise DataError(
            f"{path.name} is not in {path.parent}: pip install 'jaxml[datasets]' to "
            "download it, or set JAXML_DATA to the folder that holds "
            f"{path.parent.name}/{path.name}"
        )
    failures = []
    for folder in file.folders:
        try:
            return _fetch(folder + file.name, file, path)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            failures.append(f"{folder}{file.name}: {error}")
    tried = "\n  ".join(failures)
    raise DataError(f"{path} could not be downloaded; tried\n  {tried}")


def _fetch(address: str, file: File, path: Path) -> None:
    """Download beside path, verify, then rename, so that path is whole or not there."""
    import pooch

    bar = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    get = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=1 << 16,
        # The bytes as published: a server may offer to take the gzip off.
        headers={"Accept-Encoding": "identity"},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = tempfile.NamedTemporaryFile(  # noqa: SIM115
        dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    )
    try:
        with part:
            get(address, _Limited(part), None)
            part.flush()
            os.fsync(part.fileno())
        _verify(Path(part.name).read_bytes(), file, address)
        os.replace(part.name, path)
    finally:  # Ctrl-C comes by here too
        Path(part.name).unlink(missing_ok=True)


class _Limited:
    """A file that takes LIMIT bytes: a server may send for ever."""

    def __init__(self, file: IO[bytes]):
        self.file = file

    def write(self, chunk: bytes) -> int:
        if self.file.tell() + len(chunk) > LIMIT:
            raise DataError(f"more than {LIMIT} bytes were sent")
        return self.file.write(chunk)

    def flush(self) -> None:
        self.file.flush()
