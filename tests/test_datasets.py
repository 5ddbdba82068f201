"""Data sets: what they hold, and what happens to files that are damaged or missing."""

import gzip
import hashlib
import http.server
import os
import re
import struct
import sys
import threading
import time
import zipfile

import jax
import numpy as np
import pytest

from jaxml._programs import cache_home
from jaxml.data import datasets

RANDOM = np.random.default_rng(0)


def has(folder):
    """Skip a test where JAXML_DATA does not hold this set."""
    own = os.environ.get("JAXML_DATA", "")
    there = os.path.isdir(os.path.join(own, folder)) if own else False
    return pytest.mark.skipif(not there, reason=f"JAXML_DATA holds no {folder}")


# --- what they hold ----------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    x, y = datasets.digits()
    assert (x.dtype, y.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(x, theirs.data)
    np.testing.assert_array_equal(y, theirs.target)
    scaled = datasets.digits(scale=1 / 16).x
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, theirs.data / 16)


def test_floats_are_of_the_default_width(x64):
    assert datasets.digits(scale=1 / 16).x.dtype == np.float64


@has("ml-100k")
def test_ratings_are_of_the_default_width():
    assert datasets.movielens_100k().rating.dtype == np.float32
    with jax.enable_x64(True):
        ratings = datasets.movielens_100k()
    assert ratings.rating.dtype == np.float64
    # A float32 of such a time is wrong by up to 32 seconds.
    assert ratings.time.dtype == np.int64
    assert ratings.time.min() == 874724710


@has("mnist")
def test_mnist():
    train, test = datasets.mnist()
    assert train.x.shape == (60_000, 784)
    assert test.x.shape == (10_000, 784)
    assert train.x.dtype == np.uint8
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(train.y), counts)
    # Nielsen's "darkness" of an image, the baseline of his book: 2,225 of 10,000.
    dark = train.x[:50_000].sum(axis=1, dtype=np.int64)
    means = [dark[train.y[:50_000] == c].mean() for c in range(10)]
    guess = np.abs(test.x.sum(axis=1, dtype=np.int64)[:, None] - means).argmin(axis=1)
    assert (guess == test.y).sum() == 2225


@has("fashion-mnist")
def test_fashion_mnist():
    train, test = datasets.fashion_mnist(scale=1 / 255)
    assert train.x.shape == (60_000, 784)
    assert train.x.dtype == np.float32
    assert (train.x.min(), train.x.max()) == (0, 1)
    np.testing.assert_allclose(train.x.mean(dtype=float), 0.286040597, rtol=1e-7)
    np.testing.assert_array_equal(np.bincount(test.y), [1000] * 10)


@has("wheat-seeds")
def test_wheat_seeds():
    x, y = datasets.wheat_seeds()
    assert x.shape == (210, 7)
    np.testing.assert_array_equal(np.bincount(y), [70, 70, 70])
    np.testing.assert_array_equal(
        x[0], [15.26, 14.84, 0.871, 5.763, 3.312, 2.221, 5.22]
    )
    # compactness = 4π area / perimeter²
    compact = 4 * np.pi * x[:, 0] / x[:, 1] ** 2
    np.testing.assert_allclose(compact, x[:, 2], atol=2e-3)


@pytest.mark.parametrize("scale", ["1/255", np.nan, np.inf, [1, 2]])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match=r"^scale must be"):
        datasets.digits(scale=scale)
    with pytest.raises(ValueError, match=r"^scale must be"):
        datasets.mnist(scale=scale)


def test_the_table():
    assert set(datasets.FILES) == {"mnist", "fashion-mnist", "wheat-seeds"}
    for files in datasets.FILES.values():
        for file in files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.folders
            for folder in file.folders:
                assert folder.startswith("https://")
                assert folder.endswith("/")


# --- the reader --------------------------------------------------------------------


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


PIXELS = RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx(pack):
    read = datasets._idx(pack(idx(PIXELS)), "f")
    np.testing.assert_array_equal(read, PIXELS)
    read[0, 0, 0] = 1  # not a read-only view


def mutants(content, number):
    """Copies of content with a bit flipped, cut, grown, or another size up front."""
    random = np.random.default_rng(1)
    for _ in range(number):
        bad = bytearray(content)
        kind = random.integers(4)
        place = int(random.integers(len(bad) if random.random() < 0.5 else 20))
        if kind == 0:
            bad[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            bad = bad[:place]
        elif kind == 2:
            bad[place:place] = random.bytes(int(random.integers(1, 9)))
        else:
            size = [0, 1, 2**31 - 1, 2**32 - 1][random.integers(4)]
            bad[place : place + 4] = struct.pack(">I", size)
        yield bytes(bad)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_damaged_bytes_give_a_data_error_or_an_array(pack):
    errors = 0
    for bad in mutants(pack(idx(PIXELS)), 3000):
        try:
            # A flipped pixel is left to the checksum.
            assert datasets._idx(bad, "f").dtype == np.uint8
        except datasets.DataError:
            errors += 1
    assert errors > 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\3\0\0", "ends in its header"),
        (idx(PIXELS)[:-1], "holds 1279 bytes"),
        # 4 sizes of 2**16: their product is 0 in 64 bits
        (b"\0\0\x08\4" + struct.pack(">4I", *[2**16] * 4), "holds 0 bytes"),
        (b"\0\0\x08\1\0\0\0\0", "is empty"),
        (gzip.compress(idx(PIXELS))[:-9], "cut short"),
        (gzip.compress(idx(PIXELS)) + b"more", "goes on after the end"),
        (b"\x1f\x8b\x08 and nonsense", "damaged gzip"),
    ],
)
def test_idx_errors(content, message):
    with pytest.raises(datasets.DataError, match=message):
        datasets._idx(content, "f")


def test_a_gzip_bomb_is_not_inflated(monkeypatch):
    monkeypatch.setattr(datasets, "LIMIT", 1 << 16)
    bomb = gzip.compress(bytes(1 << 24))
    with pytest.raises(datasets.DataError, match="more than 65536 bytes"):
        datasets._idx(bomb, "f")


# --- where files come from ---------------------------------------------------------

TABLE = b"1.5,2.5,1\n3.5,4.5,2\n"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves TABLE in several ways, and remembers what was asked for."""

    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "missing":
            return self.send_error(404)
        body = {"wrong": b"0,0,1\n", "endless": bytes(1 << 20)}.get(kind, TABLE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (kind == "short")))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        httpd.address = f"http://127.0.0.1:{httpd.server_port}"
        httpd.asked = handler.asked
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Where wheat_seeds looks: an empty JAXML_DATA, an empty cache and this table."""
    monkeypatch.setenv("JAXML_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def publish(*folders):
        sha256 = hashlib.sha256(TABLE).hexdigest()
        file = datasets.File("wheat-seeds.csv", sha256, folders)
        monkeypatch.setitem(datasets.FILES, "wheat-seeds", (file,))

    publish()
    return Place(tmp_path, publish)


class Place:
    def __init__(self, root, publish):
        self.data = root / "data" / "wheat-seeds" / "wheat-seeds.csv"
        self.cache = root / "cache" / "jaxml" / "wheat-seeds" / "wheat-seeds.csv"
        self.publish = publish


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def holds_table(result):
    np.testing.assert_array_equal(result.x, [[1.5, 2.5], [3.5, 4.5]])
    np.testing.assert_array_equal(result.y, [0, 1])


@pytest.mark.parametrize("where", ["data", "cache"])
def test_a_file_at_hand_is_read(place, where):
    put(getattr(place, where), TABLE)
    holds_table(datasets.wheat_seeds())


@pytest.mark.parametrize("where", ["data", "cache"])
def test_a_damaged_file_is_neither_used_nor_overwritten(place, server, where):
    place.publish(f"{server.address}/good/")
    path = getattr(place, where)
    put(path, TABLE[:-1])
    if where == "data":
        put(place.cache, TABLE)  # and what lies behind it is not used silently
    found = hashlib.sha256(TABLE[:-1]).hexdigest()
    wanted = hashlib.sha256(TABLE).hexdigest()
    message = (
        f"^{re.escape(str(path))} is damaged: its SHA-256 is {found}, not {wanted}"
    )
    with pytest.raises(datasets.DataError, match=message):
        datasets.wheat_seeds()
    assert path.read_bytes() == TABLE[:-1]
    assert server.asked == []


def test_download(place, server, capsys):
    place.publish(f"{server.address}/good/")
    holds_table(datasets.wheat_seeds())
    assert [p.name for p in place.cache.parent.iterdir()] == ["wheat-seeds.csv"]
    assert not place.data.exists()
    holds_table(datasets.wheat_seeds())
    assert server.asked == ["/good/wheat-seeds.csv"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_progress_bar(place, server, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    place.publish(f"{server.address}/good/")
    holds_table(datasets.wheat_seeds())
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["missing", "wrong", "short", "endless"])
def test_the_next_mirror_is_tried(place, server, monkeypatch, kind):
    monkeypatch.setattr(datasets, "LIMIT", 1 << 16)
    place.publish(f"{server.address}/{kind}/", f"{server.address}/good/")
    holds_table(datasets.wheat_seeds())
    assert len(server.asked) == 2
    assert [p.name for p in place.cache.parent.iterdir()] == ["wheat-seeds.csv"]


def test_no_mirror_left(place, server, monkeypatch):
    monkeypatch.setattr(datasets, "LIMIT", 1 << 16)
    kinds = ["missing", "wrong", "short", "endless"]
    place.publish(*[f"{server.address}/{kind}/" for kind in kinds])
    with pytest.raises(datasets.DataError, match="could not be downloaded") as error:
        datasets.wheat_seeds()
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    reasons = ["404", "is damaged", "", "more than 65536 bytes"]
    for line, kind, reason in zip(lines[1:], kinds, reasons):
        assert line.startswith(f"  {server.address}/{kind}/wheat-seeds.csv: ")
        assert reason in line
    assert list(place.cache.parent.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(place, server, monkeypatch):
    import pooch

    class Interrupted(pooch.HTTPDownloader):
        def __call__(self, url, output_file, pooch):
            output_file.write(TABLE[:5])
            raise KeyboardInterrupt

    neighbour = place.cache.with_name("neighbour")
    put(neighbour, b"as before")
    place.publish(f"{server.address}/good/")
    with monkeypatch.context() as patch:
        patch.setattr(pooch, "HTTPDownloader", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.wheat_seeds()
    assert list(place.cache.parent.iterdir()) == [neighbour]
    assert neighbour.read_bytes() == b"as before"
    holds_table(datasets.wheat_seeds())


def test_readers_never_see_half_a_file(place, server, monkeypatch):
    import pooch

    seen = set()

    class Slow(pooch.HTTPDownloader):
        def __call__(self, url, output_file, pooch):
            for start in range(0, len(TABLE), 4):
                output_file.write(TABLE[start : start + 4])
                output_file.flush()
                seen.add(place.cache.exists())
                time.sleep(0.001)

    monkeypatch.setattr(pooch, "HTTPDownloader", Slow)
    place.publish(f"{server.address}/good/")
    holds_table(datasets.wheat_seeds())
    assert seen == {False}


def test_without_pooch(place, monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    place.publish("https://nowhere.invalid/")
    with pytest.raises(datasets.DataError, match=r"jaxml\[datasets\].*JAXML_DATA"):
        datasets.wheat_seeds()
    assert not place.cache.parent.exists()


def test_a_cache_that_cannot_be_written(place, server):
    put(place.cache.parent.parent, b"a file where the folder should be")
    place.publish(f"{server.address}/good/")
    with pytest.raises(datasets.DataError, match="could not be downloaded"):
        datasets.wheat_seeds()


def test_an_unreadable_file(place):
    place.data.mkdir(parents=True)
    with pytest.raises(datasets.DataError, match="cannot be read"):
        datasets.wheat_seeds()


def test_no_home(place, monkeypatch):
    """A user whom the system does not know misses only what is not in JAXML_DATA."""

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(datasets.DataError, match=r"^wheat-seeds.csv.*JAXML_DATA"):
        datasets.wheat_seeds()
    put(place.data, TABLE)
    holds_table(datasets.wheat_seeds())


@pytest.mark.parametrize("where", ["data", "cache"])
def test_a_folder_that_may_not_be_searched(place, monkeypatch, where):
    path = getattr(place, where)
    put(path, TABLE)
    stat = os.stat

    def forbidden(at, **more):
        if os.fspath(at) == str(path):
            raise PermissionError(13, "Permission denied", str(at))
        return stat(at, **more)

    monkeypatch.setattr(os, "stat", forbidden)
    with pytest.raises(datasets.DataError, match="cannot be read.*Permission denied"):
        datasets.wheat_seeds()


def test_a_relative_cache_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "jaxml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_home() == tmp_path / ".cache" / "jaxml"


def test_a_table_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path))
    bad = b"1,2,x\n"
    file = datasets.File("wheat-seeds.csv", hashlib.sha256(bad).hexdigest(), ())
    monkeypatch.setitem(datasets.FILES, "wheat-seeds", (file,))
    put(tmp_path / "wheat-seeds" / file.name, bad)
    with pytest.raises(datasets.DataError, match="not a table of numbers"):
        datasets.wheat_seeds()


# --- members of an archive ------------------------------------------------------------


def test_a_member_of_an_archive(tmp_path, monkeypatch):
    """Read by its exact name and verified; a damaged or missing one is told."""
    monkeypatch.setenv("JAXML_DATA", str(tmp_path))
    folder = tmp_path / "set"
    folder.mkdir()
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("set/a", b"one")
        members.writestr("set/../b", b"two")

    def sha256(content):
        return hashlib.sha256(content).hexdigest()

    archive = datasets.File("all.zip", sha256(path.read_bytes()), ())
    file = datasets.File("a", sha256(b"one"), ())
    assert datasets._member("set", archive, file) == b"one"
    with pytest.raises(datasets.DataError, match="set/a of all.zip is damaged"):
        datasets._member("set", archive, file._replace(sha256=sha256(b"two")))
    with pytest.raises(datasets.DataError, match="holds no readable set/b"):
        datasets._member("set", archive, file._replace(name="b"))
    (folder / "a").write_bytes(b"else")  # unpacked: what is there is verified
    with pytest.raises(datasets.DataError, match="it is not used"):
        datasets._member("set", archive, file)
