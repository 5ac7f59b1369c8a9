"""What runs in a copy's kernel beside the cells: limits at the start, and a guard where the student's cells end.

The guard puts back what an honest-looking line may have changed for all later cells, and notes it: parameters,
``check``, the environment's FSPLIT_ variables, functions of modules, deleted names, the state of random generators,
the working folder. It lives in the student's own kernel, so whoever means to can switch it off.
"""

import contextlib
import os
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from IPython import get_ipython

from fsplit_lib.exercises import core

__all__ = ["begin", "guard", "tell_keys"]

MODULES = {"builtins", "json", "math", "numpy", "numpy.random", "os", "random", "torch"}
MOVING = {"_", "input"}  # the kernel itself changes these from cell to cell
_held: dict[str, Any] = {}


def begin(file_bytes: int, cpu_seconds: int) -> None:
    """Limit this process and its children, where the system knows such limits, and drop what cells print.

    Args:
        file_bytes: size of the largest file.
        cpu_seconds: of processor time, for what nobody could end.
    """
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (an endless print would fill the grader's memory)
    _held["home"] = os.getcwd()
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, value in (
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))


def tell_keys(check: Any) -> None:
    """Record the answer keys of a chapter that made its own ``check``."""
    core.record(keys={name: exercise.key for name, exercise in check.exercises.items()})


def guard(names: list[str], student: str | None) -> None:
    """Put back what the student's cells before this one changed, if there are any, and remember how things are now.

    Args:
        names: of the chapter's parameters and of ``check``.
        student: exercise of these cells, "" for cells of the student's own, None where none were before.
    """
    space = get_ipython().user_ns
    if student is not None and "space" in _held:
        whose = f"the cell of {student}" if student else "a cell of the student's own"
        for note in _put_back(names, space):
            core.record(note=f"{whose} {note}; put back")
    _held.update(
        space={name: value for name, value in space.items() if not name.startswith("_")},
        environment=_environment(),
        functions=_functions(),
        random=[get() for get, _ in _generators()],
    )


def _put_back(names: list[str], space: dict[str, Any]) -> list[str]:
    notes = []
    for (module, name), value in _held["functions"].items():
        if vars(module).get(name) is not value:
            setattr(module, name, value)
            notes.append(f"replaced {module.__name__}.{name}")
    if _environment() != _held["environment"]:
        for name in _environment().keys() - _held["environment"].keys():
            del os.environ[name]
        os.environ.update(_held["environment"])
        notes.append("changed the environment's FSPLIT_ variables")
    before = _held["space"]
    if gone := sorted(before.keys() - space.keys()):
        space.update({name: before[name] for name in gone})
        notes.append(f"deleted {', '.join(gone[:3])}{f' and {len(gone) - 3} other names' * (len(gone) > 3)}")
    for name in names:
        if name in before and space[name] is not before[name]:
            old, new = before[name], space[name]
            space[name] = old
            if type(old) is not type(new) or callable(old) or old != new:
                notes.append(f"changed {name}")
    for (_, put), state in zip(_generators(), _held["random"], strict=False):  # torch, the last, may have come since
        put(state)
    with contextlib.suppress(OSError):
        os.makedirs(_held["home"], exist_ok=True)
        if not os.path.exists("."):
            os.chdir(_held["home"])
    return notes


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("FSPLIT_")}


def _functions() -> dict[tuple[Any, str], Any]:
    """All functions, classes and constants that later cells rely on."""
    return {
        (module, name): value
        for key, module in list(sys.modules.items())
        if key in MODULES or key.startswith("fsplit_lib.")
        for name, value in list(vars(module).items())
        if (callable(value) or type(value) in (int, float)) and name not in MOVING
    }


def _generators() -> list[tuple[Callable, Callable]]:
    """How to get and how to put the state of each random generator that is loaded."""
    pairs = [(random.getstate, random.setstate), (np.random.get_state, np.random.set_state)]
    if torch := sys.modules.get("torch"):
        pairs.append((torch.get_rng_state, torch.set_rng_state))
    return pairs
