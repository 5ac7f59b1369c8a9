"""What the cells of test_grid do; workers import it."""

import os
import time
from pathlib import Path


def square(x, diary=None, seconds=0.0):
    """x², after a while; notes when it begins and ends, and in which process."""
    note(diary, f"begin {x} {os.getpid()}")
    time.sleep(seconds)
    note(diary, f"end {x} {os.getpid()}")
    return {"square": x * x, "by": [os.getpid()]}


def note(diary, line):
    if diary is not None:
        with open(Path(diary), "a", encoding="utf-8") as file:  # one short line is appended whole
            file.write(line + "\n")


def divide(x):
    return 1 / x


def whose_turn(x, seconds=0.0):
    """What another cell in the same process would spoil: an environment variable, read again after a while."""
    os.environ["WHOSE_TURN"] = str(x)
    time.sleep(seconds)
    return os.environ["WHOSE_TURN"] == str(x)
