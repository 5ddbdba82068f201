"""Every public function of the package, found by walking it."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import NamedTuple

import jaxml
from jaxml._check.annotations import Argument, Role
from jaxml._check.shapes import Shape


class Public(NamedTuple):
    """A public function and what it was declared to be."""

    module: ModuleType
    name: str
    function: object

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
        return f"{self.module.__name__.removeprefix('jaxml.')}.{self.name}"


def modules() -> list[ModuleType]:
    """The package and all its modules whose names do not begin with an underscore."""
    found = pkgutil.walk_packages(jaxml.__path__, "jaxml.")
    names = ["jaxml", *(each.name for each in found)]
    public = [n for n in names if not any(p.startswith("_") for p in n.split("."))]
    return [importlib.import_module(name) for name in public]


def public() -> list[Public]:
    """The functions defined in those modules whose names have no underscore either."""
    return [
        Public(module, name, function)
        for module in modules()
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and not name.startswith("_")
        and function.__module__ == module.__name__
    ]
