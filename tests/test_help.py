"""help() shows what each module exports, with shapes and intervals."""

import pydoc
import re

import pytest

import jaxml
from jaxml import kmeans, logistic, pca, plot, selection, svm
from tests.common import walk

MODULES = walk.modules()


@pytest.mark.parametrize("module", MODULES, ids=[m.__name__ for m in MODULES])
def test_a_module_shows_what_it_exports(module):
    text = pydoc.plain(pydoc.render_doc(module))
    assert [name for name in module.__all__ if name not in text] == []


@pytest.mark.parametrize("module", [svm, pca, selection, plot])
def test_a_package_shows_its_functions(module):
    text = pydoc.plain(pydoc.render_doc(module))
    functions = [p.name for p in walk.public(module) if not p.path]
    assert [name for name in functions if f"\n    {name}(" not in text] == []


def test_the_package_names_each_module():
    modules = [m.__name__.rpartition(".")[2] for m in MODULES[1:]]
    top = {name for name in jaxml.__all__ if name in modules}
    assert [name for name in top if name not in jaxml.__doc__] == []


def test_signatures_say_shapes_and_intervals():
    text = pydoc.plain(pydoc.render_doc(logistic.fit))
    assert "x: (m, n), y: (m,) labels or probabilities" in text
    assert "l2: number in [0, inf) = 0.0" in text
    assert "k: int in [1, inf)" in pydoc.plain(pydoc.render_doc(kmeans.init))


def test_fields_have_docs():
    """Every field of every public class, of NamedTuples and of Params with options."""
    seen, silent = [], []
    for public in walk.classes():
        text = pydoc.plain(pydoc.render_doc(public))
        fields = getattr(public, "_fields", None) or public.__dataclass_fields__
        seen += fields
        silent += [
            f"{public.__module__}.{public.__name__}.{field}"
            for field in fields
            if not re.search(rf"^ \|\s+{field}: \S", text, re.MULTILINE)
        ]
    assert len(seen) > 200
    assert not silent
