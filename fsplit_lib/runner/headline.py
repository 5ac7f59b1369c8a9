"""A chapter's headline numbers: handed over as JSON, held against golden values with tolerances."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsplit_lib.data.files import write_atomically


@dataclass(frozen=True)
class Headline:
    """The numbers a chapter stands for; displays as a small table."""

    chapter: str
    numbers: dict[str, float]

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{k.replace('_', ' ')}</td><td>{v:,.6g}</td></tr>" for k, v in self.numbers.items())
        return f'<table style="font-size:16px"><caption style="white-space:nowrap">Headline numbers of chapter {self.chapter}</caption>{rows}</table>'


def headline(chapter: str, out_dir: str = "", **numbers: float) -> Headline:
    """Hand a chapter's headline numbers to the runner, as ``<chapter>.json`` in a folder.

    The chapter is two digits, such as "00"; without a folder, it is the environment's ``FSPLIT_OUT``, or none.

    Raises:
        ValueError: a number is not finite.

    >>> headline("00", bytes=1024).numbers
    {'bytes': 1024.0}
    """
    plain = {name: float(value) for name, value in numbers.items()}
    for name, value in plain.items():
        if not math.isfinite(value):
            raise ValueError(f"headline number {name} must be finite, got {value}")
    if folder := out_dir or os.environ.get("FSPLIT_OUT"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(folder) / f"{chapter}.json", (json.dumps(plain, indent=1) + "\n").encode())
    return Headline(chapter, plain)


def compare(numbers: dict[str, float], golden: dict[str, dict[str, Any]]) -> list[str]:
    """List in what numbers differ from golden values, one sentence each; an empty list is good.

    The latter are name to ``{"value": v, "rel": r}`` or ``{"value": v, "abs": a}``; "says" is for :func:`sentences`.

    >>> compare({"bytes": 103.0}, {"bytes": {"value": 100.0, "rel": 0.05}})
    []
    >>> compare({"bytes": 110.0}, {"bytes": {"value": 100.0, "rel": 0.05}})
    ['bytes is 110, expected 100 ± 5']
    """
    said = [f"{name} has no golden value" for name in numbers.keys() - golden.keys()]
    said += [f"{name} is missing" for name in golden.keys() - numbers.keys()]
    for name in numbers.keys() & golden.keys():
        want = golden[name]
        margin = want["abs"] if "abs" in want else want["rel"] * abs(want["value"])
        if not abs(numbers[name] - want["value"]) <= margin:
            said.append(f"{name} is {numbers[name]:.6g}, expected {want['value']:.6g} ± {margin:.3g}")
    return sorted(said)


def sentences(numbers: dict[str, float], golden: dict[str, dict[str, Any]]) -> list[str]:
    """Say what the golden values have a sentence for, with the numbers of this run.

    An entry's "says", where it has one, is a sentence with format fields of any of the numbers.

    >>> sentences({"size": 1796.0}, {"size": {"value": 1800, "abs": 9, "says": "The packet has {size:,.0f} bytes."}})
    ['The packet has 1,796 bytes.']
    """
    return [entry["says"].format(**numbers) for name, entry in golden.items() if "says" in entry and name in numbers]
