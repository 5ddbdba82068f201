"""Which of many cases the quick form of a test tries, and which only the long one."""

import pytest


def cases(values, *, quick):
    """The values for parametrize; those that are not in quick are marked long."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if value in quick else pytest.mark.long,
        )
        for value in values
    ]
