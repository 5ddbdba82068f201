"""Every public function of the package, found by walking it."""

import dataclasses
import importlib
import inspect
from types import ModuleType
from typing import Any, NamedTuple

import jaxml
from jaxml._check.annotations import Argument, Role
from jaxml._check.shapes import Shape


class Public(NamedTuple):
    """A public function and what it was declared to be."""

    path: str  # of the module that exports it
    name: str
    function: Any

    @property
    def module(self) -> ModuleType:
        """The module that it is defined in."""
        return importlib.import_module(self.function.__module__)

    @property
    def kind(self) -> str:
        return getattr(self.function, "kind", "undeclared")

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.function).parameters)

    @property
    def arguments(self) -> dict[str, Argument]:
        return getattr(self.function, "arguments", {})

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of those arguments that are arrays."""
        return {name: a.shape for name, a in self.arguments.items() if a.shape}

    @property
    def static(self) -> list[str]:
        return [name for name, a in self.arguments.items() if a.role is Role.STATIC]

    @property
    def trees(self) -> list[str]:
        return [n for n, a in self.arguments.items() if not (a.role or a.shape)]

    @property
    def random(self) -> bool:
        return "key" in self.parameters and self.kind != "host"

    @property
    def id(self) -> str:
        return f"{self.path}.{self.name}".removeprefix(".")


def public(module: ModuleType = jaxml, path: str = "") -> list[Public]:
    """The functions that the package, or a module of it, exports, and their paths."""
    found = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value):
            found += public(value, f"{path}.{name}".removeprefix("."))
        elif inspect.isfunction(value):
            found.append(Public(path, name, value))
    return found


def modules(module: ModuleType = jaxml) -> list[ModuleType]:
    """The package, and the modules that it and they export."""
    exported = [getattr(module, name) for name in module.__all__]
    inner = [each for each in exported if inspect.ismodule(each)]
    return [module, *(m for each in inner for m in modules(each))]


def classes() -> list[type]:
    """The public NamedTuples and dataclasses."""
    exported = [getattr(m, name) for m in modules() for name in m.__all__]
    kinds = [c for c in exported if inspect.isclass(c)]
    return [c for c in kinds if hasattr(c, "_fields") or dataclasses.is_dataclass(c)]
