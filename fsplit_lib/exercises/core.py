"""How an answer is graded: right, a known misconception with its own hint, wrong, or not given yet.

``...`` (Python's Ellipsis), or a function or class whose body still is ``...``, means "not answered yet" and never stops
a notebook. With the environment variable ``FSPLIT_CHECK=strict``, anything but a right answer raises: so the solutions
are tested. ``fsplit class`` sets two more, which are read once, at the import, so that no later line can move them:
``FSPLIT_RECORD`` names a file to which each check adds one JSON line, and ``FSPLIT_SEED`` moves the inputs that
functions are tried on, so that none can know its results by heart.
"""

import contextlib
import dis
import html
import inspect
import json
import math
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import starmap
from typing import Any, Literal

import numpy as np

SEED = int(os.environ.get("FSPLIT_SEED") or 0)
RECORD = None
if os.environ.get("FSPLIT_RECORD"):
    RECORD = open(os.environ["FSPLIT_RECORD"], "a", encoding="utf-8", buffering=1)  # noqa: SIM115
LOOKS = {"right": ("#009E73", "✓"), "wrong": ("#D55E00", "✗"), "unanswered": ("#57606a", "…")}
source_of = cache(inspect.getsource)


def inputs(seed: int) -> np.random.Generator:
    """Return the generator of what a function is tried on: of ``seed``, moved by the environment's ``FSPLIT_SEED``."""
    return np.random.default_rng(seed + SEED)


def record(**what: Any) -> None:
    """Add a line to the record, if there is one."""
    if RECORD is not None:
        RECORD.write(json.dumps(what) + "\n")


def plain_value(answer: Any) -> Any:
    """Return an answer as JSON holds it: text, a number, or None for all else."""
    if isinstance(answer, bool):
        return answer
    with contextlib.suppress(Exception):
        return str(answer)[:1000] if isinstance(answer, str) else float(answer)
    return None


def left_empty(answer: Any) -> bool:
    """Tell whether an answer is ``...``, a function whose body is no more, or a class with such a method or without any."""
    if inspect.isclass(answer):
        methods = [part for part in vars(answer).values() if inspect.isfunction(part)]
        return not methods or any(map(left_empty, methods))
    if not inspect.isfunction(answer):
        return answer is ...
    steps = [(step.opname, step.argval) for step in dis.get_instructions(answer) if step.opname != "RESUME"]
    return all(name == "RETURN_VALUE" or ("CONST" in name and value in (None, ...)) for name, value in steps)


def altered(right: Callable, *swaps: str) -> Callable:
    """Build a function or class anew with pieces of its source replaced: a wrong version of it in one line.

    It stands at the top of its module; ``swaps`` are by turns a piece and what stands in its place.

    Raises:
        ValueError: a piece does not occur in the source.
    """
    source = source_of(right)
    for old, new in zip(swaps[::2], swaps[1::2], strict=True):
        if old not in source:
            raise ValueError(f"{right.__name__} has no {old!r}; a trap replaces what stands in its source")
        source = source.replace(old, new)
    scope = dict(vars(inspect.getmodule(right)))
    exec(source, scope)
    return scope[right.__name__]


def near(rtol: float = 1e-6, atol: float = 1e-12) -> Callable[[Any, Any], bool]:
    """Make a comparison of two results, each a number, an array, a tensor, or a tuple or list of these."""

    def same(got: Any, expected: Any) -> bool:
        if isinstance(expected, tuple | list):
            return len(got) == len(expected) and all(map(same, got, expected))
        got, expected = (np.asarray(plain(value), dtype=float).squeeze() for value in (got, expected))
        return got.shape == expected.shape and np.allclose(got, expected, rtol, atol)

    return same


def plain(value: Any) -> Any:
    """Return a tensor as an array, and all else as it is."""
    return value.detach().numpy() if hasattr(value, "detach") else value


class Fault(str):
    """What a try of an answer finds wrong with it, told in place of a result."""


def free(*_: Any) -> None:
    """Pass any form."""


def one_number(result: Any, *case: Any) -> None:  # noqa: ARG001
    """Raise TypeError or ValueError for whatever is not one number: the form of most results."""
    float(result)


def fits(test: Callable[..., bool], told: str) -> Callable[..., str | None]:
    """Make a form that passes what ``test`` says of a result and its case; ``told`` may name {got}."""

    def form(result: Any, *case: Any) -> str | None:
        return None if test(result, *case) else told.format(got=str(result)[:60])

    return form


def shaped(wanted: Callable[..., Iterable[int]], told: str, part: int | None = None) -> Callable[..., str | None]:
    """Make the form of an array, or of a result's ``part``, of a case's shape; ``told`` may name {wanted} and {got}."""

    def form(result: Any, *case: Any) -> str | None:
        array = np.asarray(plain(result if part is None else result[part]), dtype=float)
        shapes = {"wanted": tuple(wanted(*case)), "got": array.shape}
        return None if shapes["wanted"] == shapes["got"] else told.format(**shapes)

    return form


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a student reads below the exercise; before the first answer the hint is folded."""

    id: str
    status: Literal["right", "wrong", "unanswered"]
    message: str

    def __repr__(self) -> str:
        folded = f"A hint: print(check.exercises[{self.id!r}].hint)"
        return f"{self.id}, {self.status}. {folded if self.status == 'unanswered' else self.message}"

    def _repr_html_(self) -> str:
        colour, mark = LOOKS[self.status]
        said = html.escape(self.message)
        if self.status == "unanswered":
            said = f"<details><summary>A short hint</summary>{said.removeprefix('Hint: ')}</details>"
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.4em .8em;font-size:16px">'
            f"<b>{mark} {self.id}, {self.status}.</b> {said}</div>"
        )


@dataclass(frozen=True)
class Trap:
    """A typical wrong answer and what to tell whoever falls into it."""

    value: Any
    message: str


@dataclass(frozen=True)
class Exercise:
    """One exercise."""

    id: str  # chapter and number, such as "00.1"
    hint: str  # for whoever has not answered
    grade: Callable[[Any], bool | str]  # True, or the message for this wrong answer, or False for one of no known kind
    why: str  # told with a right answer: what it is good for
    traps: tuple[Trap, ...] = ()  # typical wrong answers, each tested to draw its own message
    drawn: bool = False  # whether what is right moves with the seed, as where a function is tried on drawn inputs
    key: dict[str, Any] | None = None  # what from_key makes the same grading from; None where code does the grading

    @classmethod
    def from_key(cls, id: str, key: dict[str, Any]) -> "Exercise":
        """Make an exercise that grades a number or a letter as the one does that the key is from; it has no hints."""
        if "options" in key:
            return cls.choice(id, key["expected"], "", "", **key["options"])
        return cls.number(id, key["expected"], "", "", *key["traps"], relative=key["relative"])

    @classmethod
    def number(
        cls, id: str, expected: float, hint: str, why: str, *traps: tuple[float, str],
        relative: float = 0.01, drawn: bool = False,
    ) -> "Exercise":  # fmt: skip
        """Make an exercise whose answer is a number, right within ``relative``; ``drawn`` if it comes out of a seeded run."""
        traps = tuple(starmap(Trap, traps))

        def grade(answer: Any) -> bool | str:
            kind = type(answer).__name__
            try:
                answer = float("nan" if isinstance(answer, bool) else answer)
            except (TypeError, ValueError, OverflowError):
                answer = math.nan
            if math.isnan(answer):
                return f"The answer is a number, not {kind}."
            if math.isinf(answer):
                return "The answer is a finite number."
            if math.isclose(answer, expected, rel_tol=relative):
                return True
            return next((t.message for t in traps if math.isclose(answer, t.value, rel_tol=relative)), False)

        told = [[float(trap.value), trap.message] for trap in traps]
        key = {"expected": float(expected), "relative": relative, "traps": told}
        return cls(id, hint, grade, why, traps, drawn, key)

    @classmethod
    def choice(cls, id: str, expected: str, hint: str, why: str, **options: str) -> "Exercise":
        """Make an exercise whose answer is one letter; ``options`` tells for each wrong one why it is wrong."""

        def grade(answer: Any) -> bool | str:
            letter = answer.strip().lower() if isinstance(answer, str) else ""
            unknown = f"Answer with one letter: {', '.join(sorted({expected, *options}))}."
            return letter == expected or options.get(letter, unknown)

        key = {"expected": expected, "options": options}
        return cls(id, hint, grade, why, tuple(starmap(Trap, options.items())), key=key)

    @classmethod
    def function(
        cls, id: str, right: Callable, cases: Callable[[], Iterable[tuple]], hint: str, why: str, *traps: Any,
        base: Callable | None = None, same: Callable[[Any, Any], bool] = near(),  # noqa: B008
        form: Callable[..., str | None] = one_number, edges: tuple = (),
        use: Callable[..., Any] = lambda answer, *case: answer(*case), asked: str = "function",
    ) -> "Exercise":  # fmt: skip
        """Make an exercise whose answer is a function or a class, right if it does on drawn cases what ``right`` does.

        ``cases`` draws tuples of arguments, of which every try gets its own copy. ``use`` tries an answer on one, by
        calling it if nothing else is said; ``same`` compares what comes of it, the answer's first, unless it is a
        :class:`Fault`. With such a result and its case ``form`` says what no right result could look like, or raises
        TypeError or ValueError where it is not even made of numbers. The traps are by turns a wrong function, or what
        :func:`altered` replaces in ``base`` or else the right one, and what to tell whoever handed over one that does
        the same; the edges by turns a case that a function right everywhere else may still get wrong, and what is said
        then. ``asked`` is "function" or "class".
        """
        told = zip(traps[::2], traps[1::2], strict=True)
        traps = tuple(Trap(altered(base or right, *one) if isinstance(one, tuple) else one, said) for one, said in told)

        def grade(answer: Any) -> bool | str:
            if not callable(answer):
                return f"Hand over the {asked} itself, without calling it."
            drawn = [*cases(), *edges[::2]]
            try:
                got = [use(answer, *deepcopy(case)) for case in drawn]
            except Exception as error:
                return f"Your {asked} raised {type(error).__name__}: {error}"
            for result, case in zip(got, drawn, strict=True):
                try:
                    said = result if isinstance(result, Fault) else form(result, *case)
                except (TypeError, ValueError):
                    said = f"Return a number; your function returned {reprlib.repr(result)}."
                if said:
                    return said

            def like(other: Callable, part: slice) -> bool:
                tried = ((a, use(other, *deepcopy(case))) for a, case in zip(got[part], drawn[part], strict=True))
                return all(not isinstance(b, Fault) and same(a, b) for a, b in tried)

            inner = slice(len(drawn) - len(edges) // 2)
            if like(right, inner):
                at = enumerate(edges[1::2], start=inner.stop)
                return next((said for n, said in at if not like(right, slice(n, n + 1))), True)
            return next((trap.message for trap in traps if like(trap.value, inner)), False)

        return cls(id, hint, grade, why, traps, drawn=True)


# What is graded, then what is said of it: number("05.7", 9.0)(hint, why, traps).
choice, function, number = (partial(partial, make) for make in (Exercise.choice, Exercise.function, Exercise.number))


def make_check(exercises: Mapping[str, Exercise]) -> Callable[[str, Any], Verdict]:
    """Make the function that notebooks import as ``check``."""

    def check(id: str, answer: Any) -> Verdict:
        """Grade your answer to an exercise; ``...``, or a function or class whose body is ``...``, gets a hint.

        Raises:
            KeyError: there is no such exercise.

        >>> check("00.3", ...), check("00.3", "many")
        (00.3, unanswered. A hint: print(check.exercises['00.3'].hint), 00.3, wrong. The answer is a number, not str.)
        """
        if id not in exercises:
            raise KeyError(f"no exercise {id!r}; there are {', '.join(exercises)}")
        exercise = exercises[id]
        empty = left_empty(answer)
        graded = None if empty else exercise.grade(answer)
        if graded is True:
            verdict = Verdict(id, "right", exercise.why)
        elif empty:
            verdict = Verdict(id, "unanswered", f"Hint: {exercise.hint}")
        else:
            verdict = Verdict(id, "wrong", graded or f"Not yet. Hint: {exercise.hint}")
        told = {"message": verdict.message, "drawn": exercise.drawn, "value": plain_value(answer)}
        shown = reprlib.repr(getattr(answer, "__name__", answer))
        record(id=id, status=verdict.status, known=isinstance(graded, str), answer=shown, **told)
        if os.environ.get("FSPLIT_CHECK") == "strict" and verdict.status != "right":
            raise AssertionError(f"exercise {id} is {verdict.status}: {verdict.message}")
        return verdict

    check.exercises = exercises
    return check
