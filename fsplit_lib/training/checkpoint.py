"""A run on disk: written whole or not at all, and refused where it belongs to another run."""

import hashlib
import io
from pathlib import Path

import torch
from torch import nn

from fsplit_lib.data.files import write_atomically
from fsplit_lib.errors import WeightsError

DIGEST = 32  # a checkpoint ends with the sha256 of all that comes before
Parts = dict[str, nn.Module]


def save(path: Path, parts: Parts, optimisers: list[torch.optim.Optimizer], run: dict, step: int, log: list) -> None:
    """Write the state after ``step`` steps; ``run`` says what the state belongs to."""
    state = {
        "pieces": {name: part.state_dict() for name, part in parts.items()},
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "run": run,
        "step": step,
        "log": log,
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(path, content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def resume(path: Path, parts: Parts, optimisers: list[torch.optim.Optimizer], run: dict) -> tuple[int, list]:
    """Read a state into parts and optimisers; returns its step and log, or (0, []) where there is no file.

    Raises:
        WeightsError: the file is damaged, or belongs to another configuration, data set or network.
    """
    if not path.exists():
        return 0, []
    content = path.read_bytes()
    payload, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise WeightsError(f"the checkpoint {path} is damaged (wrong sha256); delete it to start again")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        theirs = dict(state["run"])
    except Exception as error:  # torch raises a dozen kinds on damaged files
        raise WeightsError(f"the checkpoint {path} is damaged; delete it to start again") from error
    if theirs != run:
        changed = [k for k in run | theirs if theirs.get(k) != run.get(k)]
        raise WeightsError(
            f"the checkpoint {path} belongs to another run ({', '.join(changed)} differ); delete or rename it"
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(state["pieces"][name])
        for optimiser, stored in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
    except (KeyError, ValueError, RuntimeError) as error:  # what torch says of names and shapes that do not fit
        raise WeightsError(f"the checkpoint {path} was written for another network; delete or rename it") from error
    return state["step"], state["log"]
