"""The progress bar of all commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(unit: str, what: str = "") -> Iterator[Callable[..., None]]:
    """Yield ``progress(done, total, shown)``, which counts units of ``what`` and may show words or numbers beside.

    The bar is there from the first call on; it starts anew where less is done than before, and ends with the work.
    """
    bar: tqdm | None = None

    def progress(done: int, total: int, shown: dict[str, object] | None = None) -> None:
        nonlocal bar
        if bar is None or done < bar.n:
            bar = tqdm(total=total, unit=unit, desc=what or None)
        bar.set_postfix(shown, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()  # before anything else is told

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
