"""What runs in a copy's kernel beside the cells: limits at the start, and a guard where the student's cells end.

The guard puts back what an honest-looking line may have changed for all later cells, and notes it: parameters,
``check``, the environment's FSPLIT_ variables, functions and constants of modules, deleted names. It also puts back the
state of random generators and a lost working folder. Whoever means to can switch it off: it lives in the same kernel.
"""

import contextlib
import os
import random
import sys
from typing import Any

import numpy as np
from IPython import get_ipython

from fsplit_lib.exercises import core

MODULES = {"builtins", "json", "math", "numpy", "numpy.random", "os", "random", "torch"}
MOVING = {"_", "input"}  # the kernel itself changes these from cell to cell
_held: dict[str, Any] = {}


def begin(file_bytes: int, cpu_seconds: int) -> None:
    """Limit this process and its children, where the system knows such limits, and drop what cells print.

    The limits are on one file and, for what nobody could end, on processor time.
    """
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (an endless print would fill the grader's memory)
    _held["home"] = os.getcwd()
    with contextlib.suppress(ImportError):  # Windows
        import resource

        for kind, value in (("FSIZE", file_bytes), ("CPU", cpu_seconds), ("CORE", 0)):
            _, hard = resource.getrlimit(kind := getattr(resource, f"RLIMIT_{kind}"))
            least = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (least, least))


def tell_keys(check: Any) -> None:
    """Record the answer keys of a chapter that made its own ``check``."""
    core.record(keys={name: exercise.key for name, exercise in check.exercises.items()})


def guard(names: list[str], student: str | None) -> None:
    """Put back what the student's cells before this one changed, if there are any, and remember how things are now.

    The names are those of the chapter's parameters and of ``check``; ``student`` is the exercise of these cells, "" for
    cells of the student's own, None where none were before.
    """
    space = get_ipython().user_ns
    if student is not None:
        whose = f"the cell of {student}" if student else "a cell of the student's own"
        for note in _put_back(names, space):
            core.record(note=f"{whose} {note}; put back")
    _held["space"] = {name: value for name, value in space.items() if not name.startswith("_")}
    _held["environment"], _held["values"] = _environment(), _values()
    torch = sys.modules.get("torch")
    _held["random"] = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()


def _put_back(names: list[str], space: dict[str, Any]) -> list[str]:
    notes, before = [], _held["space"]
    for (module, name), value in _held["values"].items():
        if vars(module).get(name) is not value:
            setattr(module, name, value)
            notes.append(f"replaced {module.__name__}.{name}")
    if _environment() != _held["environment"]:
        for name in _environment():
            del os.environ[name]
        os.environ.update(_held["environment"])
        notes.append("changed the environment's FSPLIT_ variables")
    if gone := sorted(before.keys() - space.keys()):
        space.update({name: before[name] for name in gone})
        notes.append(f"deleted {', '.join(gone[:3])}{f' and {len(gone) - 3} other names' * (len(gone) > 3)}")
    for name in before.keys() & set(names):
        old, new = before[name], space[name]
        space[name] = old
        if new is not old and (type(old) is not type(new) or callable(old) or old != new):
            notes.append(f"changed {name}")
    random.setstate(_held["random"][0])
    np.random.set_state(_held["random"][1])
    if _held["random"][2] is not None:
        sys.modules["torch"].set_rng_state(_held["random"][2])
    with contextlib.suppress(OSError):
        os.makedirs(_held["home"], exist_ok=True)
        if not os.path.exists("."):
            os.chdir(_held["home"])
    return notes


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("FSPLIT_")}


def _values() -> dict[tuple[Any, str], Any]:
    """All functions, classes and constants that later cells rely on, by module and name."""
    watched = [m for name, m in list(sys.modules.items()) if name in MODULES or name.startswith("fsplit_lib.")]
    found = ((module, name, value) for module in watched for name, value in list(vars(module).items()))
    return {(m, n): v for m, n, v in found if n not in MOVING and (callable(v) or type(v) in (int, float))}
