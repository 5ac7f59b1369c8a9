"""The tables of chapter 07, read and compared.

cross_backbone.csv            every cell at every rate weight: bytes, accuracy, agreement
cross_backbone_bd_rates.csv   every cell against the native pair of the backbone that answers
decoder_ablation.csv          restoration blocks and widths, native pairs
decoder_ablation_times.csv    how long each of those decoders takes
photos_backbones.csv          the photo codec's packets, judged by three networks at the server
"""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from fsplit_lib.evaluation.tables import BDRate, CrossRow, RatePoint, incomplete, read_table


@dataclass(frozen=True)
class Crossing:
    """One codec per backbone, and a decoder for every backbone behind each."""

    cells: dict[str, list[CrossRow]]  # by name, the rows from the fewest bytes up
    deltas: dict[str, BDRate]  # by the cell that is tested, against the first native pair of the backbone that answers

    @property
    def networks(self) -> list[str]:
        """The backbones that answer, in the table's order."""
        return list(dict.fromkeys(rows[0].decoded for rows in self.cells.values() if not rows[0].frozen))

    def natives(self, network: str) -> list[str]:
        """List the cells of its native pairs, by seed; all deltas are against the first."""
        found = [name for name, (row, *_) in self.cells.items() if not row.frozen and row.decoded == network]
        return sorted(found, key=lambda name: self.cells[name][0].seed)

    def cell(self, trained: str, decoded: str) -> str:
        """Return the cell of a decoder for ``decoded``, with blocks of its own family, behind the frozen codec of ``trained``.

        Raises:
            DataError: it was not measured.
        """
        wanted = trained, decoded, self.cells[self.natives(decoded)[0]][0].blueprint
        for name, (row, *_) in self.cells.items():
            if row.frozen and (row.trained, row.decoded, row.blueprint) == wanted:
                return name
        what = "no cell has a codec of {}, answers by {} and blocks of {}".format(*wanted)
        raise incomplete("cross_backbone.csv", what)

    def delta(self, trained: str, decoded: str) -> BDRate:
        """Return the bytes more or less than the native pair of ``decoded`` for the same agreement, Eq. (3) of chapter 07."""
        return self.deltas[self.cell(trained, decoded)]

    def blueprints(self, network: str) -> dict[str, str]:
        """Return blueprint to cell, all behind the codec of the backbone itself; its own family's first."""
        own = self.cells[self.natives(network)[0]][0].blueprint
        found = {r.blueprint: n for n, (r, *_) in self.cells.items() if r.frozen and r.trained == r.decoded == network}
        return {own: found[own]} | found

    def spread(self, network: str) -> list[float]:
        """Return what other seeds of the native pair need more or less than the first, in percent."""
        deltas = (self.deltas[name] for name in self.natives(network)[1:])
        return [delta.percent for delta in deltas if delta.percent is not None]

    def at_equal_bytes(self, quality: str) -> tuple[np.ndarray, float]:
        """Compute ``top1`` or ``agreement`` of every pair (trained, decoded), in the middle of the bytes that all reach.

        Returns the shares (N, N), with native pairs on the diagonal, and the bytes.
        """
        names = [self.natives(b)[0] if a == b else self.cell(a, b) for a, b in product(self.networks, repeat=2)]
        curves = {name: self.cells[name] for name in names}
        middle = float(np.sqrt(np.prod(equal_bytes(curves)[1])))
        found = [
            np.interp(np.log(middle), np.log([r.bytes for r in rows]), [getattr(r, quality) for r in rows])
            for rows in curves.values()
        ]
        return np.reshape(found, (len(self.networks), -1)), middle


@dataclass(frozen=True)
class Ablation:
    """Native pairs with decoders of other depths and widths."""

    rows: list[CrossRow]  # of the first seed
    times: dict[tuple[str, int, int], float]  # (backbone, restoration, width) to milliseconds per latent

    @property
    def networks(self) -> list[str]:
        """The backbones, in the table's order."""
        return list(dict.fromkeys(row.decoded for row in self.rows))

    def curves(self, network: str) -> dict[tuple[int, int], list[CrossRow]]:
        """Return (restoration, width) to its rows from the fewest bytes up."""
        cells: dict[tuple[int, int], list[CrossRow]] = {}
        for row in sorted(self.rows, key=lambda row: (row.restoration, row.width, row.bytes)):
            if row.decoded == network:
                cells.setdefault((row.restoration, row.width), []).append(row)
        return cells

    def smallest(self, network: str) -> tuple[int, int]:
        """Find the smallest decoder within half a point of the best, Eq. (4) of chapter 07."""
        return smallest_within([row for row in self.rows if row.decoded == network])[0][1:]


def read_crossing(folder: Path) -> Crossing:
    """Read the tables ``cross_backbone.csv`` and ``cross_backbone_bd_rates.csv`` of a folder.

    Raises:
        DataError: a table is missing, or has not every pair of backbones.

    >>> from fsplit_lib.data import data_root
    >>> read_crossing(data_root() / "results").networks
    ['fashion_resnet', 'fashion_convnext', 'fashion_swin']
    """
    cells: dict[str, list[CrossRow]] = {}
    for row in read_table("cross_backbone.csv", folder):
        cells.setdefault(row.cell, []).append(row)
    deltas = {d.codec: d for d in read_table("cross_backbone_bd_rates.csv", folder)}
    found = Crossing({name: sorted(rows, key=lambda row: row.bytes) for name, rows in cells.items()}, deltas)
    wanted = {found.cell(a, b) for a in found.networks for b in found.networks}
    if missing := wanted - deltas.keys():
        raise incomplete("cross_backbone_bd_rates.csv", f"no BD-rate of {', '.join(sorted(missing))} in {folder}")
    return found


def read_ablation(folder: Path) -> Ablation:
    """Read the tables ``decoder_ablation.csv`` and ``decoder_ablation_times.csv`` of a folder.

    Raises:
        DataError: a table is missing, or a decoder has no time.

    >>> from fsplit_lib.data import data_root
    >>> read_ablation(data_root() / "results").networks
    ['fashion_resnet', 'fashion_convnext', 'fashion_swin']
    """
    rows = read_table("decoder_ablation.csv", folder)
    times = read_table("decoder_ablation_times.csv", folder)
    known = {(row.decoded, row.restoration, row.width): row.decode_ms for row in times}
    if missing := {(row.decoded, row.restoration, row.width) for row in rows} - known.keys():
        raise incomplete("decoder_ablation_times.csv", f"no time of {sorted(missing)[0]} in {folder}")
    first = min(row.seed for row in rows)
    return Ablation([row for row in rows if row.seed == first], known)


def read_photo_servers(folder: Path) -> dict[str, list[RatePoint]]:
    """Read the table ``photos_backbones.csv`` of a folder: by backbone, our rows from the fewest bytes up.

    Raises:
        DataError: the table is missing, or two backbones were not sent the same packets.

    >>> from fsplit_lib.data import data_root
    >>> sorted(read_photo_servers(data_root() / "results"))
    ['tf_efficientnet_lite0', 'tf_efficientnet_lite1', 'tf_efficientnet_lite2']
    """
    found: dict[str, list[RatePoint]] = {}
    for point in sorted(read_table("photos_backbones.csv", folder), key=lambda point: point.bytes):
        if point.lmbda is not None:
            found.setdefault(point.backbone, []).append(point)
    if len({tuple(point.bytes for point in points) for points in found.values()}) > 1:
        name = "photos_backbones.csv"
        raise incomplete(name, f"the backbones in {folder}/{name} were not sent the same packets")
    return found


def equal_bytes(curves: dict[Hashable, list[CrossRow]]) -> tuple[dict[Hashable, float], tuple[float, float]]:
    """Compute accuracy at equal bytes: curves are interpolated over ln(bytes) and averaged over the bytes that all reach.

    Returns the mean accuracy of each curve, and the range of bytes; one point where the curves share none.
    """
    low = max(min(row.bytes for row in curve) for curve in curves.values())
    high = max(low, min(max(row.bytes for row in curve) for curve in curves.values()))
    at, scores = np.linspace(np.log(low), np.log(high), 20), {}
    for key, curve in curves.items():
        points = sorted((np.log(row.bytes), row.top1) for row in curve)
        scores[key] = float(np.interp(at, *zip(*points, strict=True)).mean())
    return scores, (low, high)


def smallest_within(rows: list[CrossRow], loss: float = 0.005) -> list[tuple[str, int, int]]:
    """Find, by backbone, the decoder of fewest parameters whose accuracy at equal bytes is within ``loss`` of the best.

    Each is (backbone, restoration, width). Implements Eq. (4) of chapter 07.
    """
    found = []
    for network in dict.fromkeys(row.decoded for row in rows):
        curves: dict[Hashable, list[CrossRow]] = {}
        for row in rows:
            if row.decoded == network:
                curves.setdefault((row.parameters, row.restoration, row.width), []).append(row)
        scores, _ = equal_bytes(curves)
        _, restoration, width = min(key for key, value in scores.items() if value >= max(scores.values()) - loss)
        found.append((network, restoration, width))
    return found
