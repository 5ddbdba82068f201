"""What help() says about the fields of a class: the comments beside them.

Python shows none of its own: fields of a NamedTuple have no docstrings.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

FIELD = re.compile(r"    (\w+): (?:.*?  # (.*))?")


def document(module: ModuleType, seen: set[str] | None = None) -> None:
    """Add them to the docstrings of the public classes of a module and of its own."""
    seen = set() if seen is None else seen
    seen.add(module.__name__)
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            if value.__name__ not in seen:
                document(value, seen)
        elif hasattr(value, "_fields") or hasattr(value, "__dataclass_fields__"):
            _extend(value)


def _extend(cls: type) -> None:
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        comments |= _comments(base) if base.__module__.startswith("jaxml.") else {}
    lines = [f"        {field}: {text}" for field, text in comments.items()]
    if lines and "\n    Fields:" not in (cls.__doc__ or ""):
        cls.__doc__ = "\n".join([f"{cls.__doc__}\n\n    Fields:", *lines, "    "])


def _comments(cls: type) -> dict[str, str]:
    """The comment before or behind each field; none where there is no source."""
    try:
        text = Path(sys.modules[cls.__module__].__file__ or "").read_text("utf-8")
    except OSError:
        return {}
    result, above = {}, []
    body = re.split(rf"^class {cls.__name__}\b.*$", text, maxsplit=1, flags=re.M)[-1]
    for line in body.split("\n")[1:]:
        if line and not line.startswith("    "):
            break
        if line.startswith("    # "):
            above.append(line[6:])
        elif match := FIELD.match(line):
            result[match[1]] = " ".join([*above, match[2] or ""]).strip()
            above = []
    return result
