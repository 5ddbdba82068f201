"""python -m jaxml: what a user sees."""

import io
import os
import re
import subprocess
import sys

import pytest

from jaxml import __main__ as program


def _run(capsys, tmp_path, *options):
    picture = str(tmp_path / "picture.png")
    code = program.main([*options, "--picture", picture])
    return code, capsys.readouterr(), tmp_path / "picture.png"


def test_the_demo_learns_digits(capsys, tmp_path):
    """The whole program, with its default network and seed."""
    code, told, picture = _run(capsys, tmp_path)
    assert code == 0
    lines = told.out.splitlines()
    assert lines[0] == "UCI digits: 1,437 examples to learn from, 360 held out"
    gap = re.search(r"largest difference (\S+) \(float64\)", told.out)
    assert float(gap[1]) < 1e-12
    assert len(re.findall(r"^epoch +\d+ .* accuracy +[\d.]+ %$", told.out, re.M)) == 40
    accuracy, wrong = re.search(
        r"held-out accuracy ([\d.]+) %, (\d+) of 360 wrong", told.out
    ).groups()
    assert float(accuracy) >= 97
    assert told.out.isascii()
    table = [line for line in lines if re.match(r"^ +\d +(\d+|\.)", line)][1:]
    counts = [[int(c) for c in line.replace(".", "0").split()[1:]] for line in table]
    assert sum(map(sum, counts)) == 360
    assert 360 - sum(counts[i][i] for i in range(10)) == int(wrong)
    seconds = float(re.search(r"([\d.]+) s in all", told.out)[1])
    assert seconds > 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cost", "quadratic", "--solver", "momentum"), "quadratic cost, momentum"),
        (
            ("--cost", "log-likelihood", "--solver", "adam", "--hidden", "20"),
            "network 64-20-10, log-likelihood cost, adam",
        ),
        (("--data", "wheat-seeds", "--hidden", "5", "--l2", "0"), "network 7-5-3"),
    ],
)
def test_options(capsys, tmp_path, monkeypatch, options, expected):
    if "wheat-seeds" in options:
        monkeypatch.setattr(program.datasets, "wheat_seeds", _seeds)
    code, told, picture = _run(capsys, tmp_path, *options, "--epochs", "2")
    assert code == 0
    assert expected in told.out
    assert picture.exists()


def _seeds():
    """Rows of the shape of the wheat seeds, for a machine that has no data."""
    import numpy as np

    rng = np.random.default_rng(0)
    y = np.arange(210) // 70
    x = rng.normal(size=(210, 7)) + y[:, None]
    return program.datasets.Data(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", "-1"], "argument --rate: -1 is not above 0"),
        (["--rate", "fast"], "argument --rate: invalid number value: 'fast'"),
        (["--epochs", "0"], "argument --epochs: 0 is not 1 or more"),
        (["--hidden", "8", "2.5"], "argument --hidden: invalid whole number value"),
        (["--data", "cifar"], "argument --data: invalid choice: 'cifar'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--seed", str(2**63)], f"argument --seed: {2**63} is above {2**32 - 1}"),
        (["--seed", str(2**32)], f"argument --seed: {2**32} is above {2**32 - 1}"),
        (["--l2", "1e39"], "argument --l2: 1e39 is above 3.4"),
        (["--epochs", "3000000000"], "argument --epochs: 3000000000 is above"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(capsys, options, message):
    with pytest.raises(SystemExit) as info:
        program.main(options)
    assert info.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "abacus"], "device 'abacus' is not here; there is cpu"),
        (["--rate", "1e9", "--epochs", "2"], "rate or l2 is too high for this problem"),
        (["--picture", "nowhere/there.png"], "nowhere/there.png: No such file"),
        (["--picture", "/tmp"], "picture cannot be written: /tmp: Is a directory"),
        (["--picture", "a.xyz"], "cannot be written: a.xyz: Format 'xyz' is not"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(capsys, options, message):
    assert program.main(options) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert message in line
    # Of a picture that cannot be written it is told before anything is learned.
    assert "--picture" not in options or told.out == ""


def test_the_picture_is_where_it_is_said_to_be(monkeypatch, tmp_path):
    """A name without a suffix gets one; a terminal without ü gets it spelled."""
    told = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", told)
    name = str(tmp_path / "\u00fc")
    assert program.main(["--picture", name, "--epochs", "1", "--hidden", "5"]) == 0
    lines = told.buffer.getvalue().decode("ascii").splitlines()
    assert lines[-1] == f"picture of what it learned: {tmp_path}/\\xfc.png"
    assert [each.name for each in tmp_path.iterdir()] == ["\u00fc.png"]


def test_a_reader_that_has_enough(monkeypatch, capsys):
    """As `| head -1` has: no traceback, and the status of one ended by SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert program.main([]) == 141
    assert capsys.readouterr().err == ""


def test_a_full_disk(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert program.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "stdout cannot be written" in line


@pytest.mark.parametrize(
    ("closed", "code"), [("stdout stderr", 0), ("stderr", 0), ("stdout stderr", 2)]
)
def test_closed_streams(capsys, tmp_path, monkeypatch, closed, code):
    """`>&- 2>&-` makes them None: the picture is drawn, a fault is still the status."""
    for stream in closed.split():
        monkeypatch.setattr(sys, stream, None)
    name = "picture.png" if code == 0 else "nowhere/picture.png"
    options = ["--epochs", "1", "--hidden", "5", "--picture", str(tmp_path / name)]
    assert program.main(options) == code
    assert (tmp_path / "picture.png").exists() == (code == 0)
    assert ("held-out accuracy" in capsys.readouterr().out) == (closed == "stderr")


def test_missing_data_are_told_in_one_line(capsys, tmp_path, monkeypatch):
    """A damaged file stands for all that can be wrong with a data set."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    monkeypatch.setenv("JAXML_DATA", str(tmp_path))
    assert program.main(["--data", "mnist"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "train-images-idx3-ubyte.gz" in line
    assert "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609" in line


def test_help_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "jaxml", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert run.stdout.isascii()
    for option in ("--data", "--hidden", "--solver", "--rate", "--batch", "--epochs"):
        assert option in run.stdout
    for option in ("--seed", "--cost", "--l2", "--device"):
        assert option in run.stdout


def test_ctrl_c_reports_what_was_learned(capsys, tmp_path, monkeypatch):
    after = program.Clock.after

    def interrupt(self, state, record):
        after(self, state, record)
        if len(self.seconds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(program.Clock, "after", interrupt)
    code, told, picture = _run(capsys, tmp_path)
    assert code == 130
    assert "interrupted" in told.out
    assert "held-out accuracy" in told.out
    assert picture.exists()
