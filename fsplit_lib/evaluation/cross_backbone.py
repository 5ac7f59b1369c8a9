"""The tables of chapter 07, read and compared.

cross_backbone.csv            every cell at every rate weight: bytes, accuracy, agreement
cross_backbone_bd_rates.csv   every cell against the native pair of the backbone that answers
decoder_ablation.csv          restoration blocks and widths, native pairs
decoder_ablation_times.csv    how long each of those decoders takes
photos_backbones.csv          the photo codec's packets, judged by three networks at the server
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsplit_lib.data import read_rows
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation.curves import BDRate
from fsplit_lib.evaluation.points import JUDGED, RatePoint
from fsplit_lib.zoo import read_card

__all__ = [
    "Ablation",
    "CrossRow",
    "Crossing",
    "DecodeTime",
    "equal_bytes",
    "read_ablation",
    "read_crossing",
    "read_photo_servers",
    "smallest_within",
]

CROSS, ABLATION = (f"fsplit train {name} --out data/results/{name}" for name in ("cross_backbone", "decoder_ablation"))
PHOTOS = "fsplit evaluate photos FOLDER --backbone tf_efficientnet_lite0 --backbone tf_efficientnet_lite1 -o photos_backbones.csv"


@dataclass(frozen=True)
class CrossRow:
    """One rate weight of one cell, on all test pictures; a row of cross_backbone.csv and decoder_ablation.csv.

    Attributes:
        cell: name in the grid.
        trained: backbone that the codec was trained with.
        decoded: backbone that answers.
        blueprint: family of the decoder's transformation blocks.
        frozen: 1 where only the decoder was trained for this backbone, 0 for a native pair.
        restoration: number of restoration blocks.
        width: of the decoder.
        parameters: of the decoder.
        seed: of everything random.
        lmbda: weight of the rate.
        bytes: mean of whole packets.
        top1: accuracy; ``top1_low`` and ``top1_high`` are Wilson's 95 % interval.
        agreement: top-1 agreement with the backbone that answers, with the same interval.
        n: test pictures.
    """

    cell: str
    trained: str
    decoded: str
    blueprint: str
    frozen: int
    restoration: int
    width: int
    parameters: int
    seed: int
    lmbda: float
    bytes: float
    top1: float
    top1_low: float
    top1_high: float
    agreement: float
    agreement_low: float
    agreement_high: float
    n: int


@dataclass(frozen=True)
class DecodeTime:
    """How long a decoder of the ablation takes for one latent, on one thread of the machine that wrote the table.

    Attributes:
        decoded: the backbone.
        restoration: number of restoration blocks.
        width: their channels.
        decode_ms: median over the runs, all decoders in turns.
        iqr_ms: between the quartiles.
        runs: after warming up.
    """

    decoded: str
    restoration: int
    width: int
    decode_ms: float
    iqr_ms: float
    runs: int


@dataclass(frozen=True)
class Crossing:
    """One codec a backbone, and a decoder for every backbone behind each.

    Attributes:
        cells: by name, the rows from the fewest bytes up.
        deltas: by the cell that is tested, against the first native pair of the backbone that answers.
    """

    cells: dict[str, list[CrossRow]]
    deltas: dict[str, BDRate]

    @property
    def networks(self) -> list[str]:
        """The backbones that answer, in the table's order."""
        return list(dict.fromkeys(rows[0].decoded for rows in self.cells.values() if not rows[0].frozen))

    def natives(self, network: str) -> list[str]:
        """The cells of its native pairs, by seed; all deltas are against the first."""
        found = [name for name, (row, *_) in self.cells.items() if not row.frozen and row.decoded == network]
        return sorted(found, key=lambda name: self.cells[name][0].seed)

    def cell(self, trained: str, decoded: str, blueprint: str | None = None) -> str:
        """The cell of a decoder trained behind a frozen codec.

        Args:
            trained: backbone that the codec was trained with.
            decoded: backbone that answers.
            blueprint: family of the decoder's blocks; that of ``decoded`` by default.

        Raises:
            DataError: it was not measured.
        """
        wanted = blueprint or self.cells[self.natives(decoded)[0]][0].blueprint
        for name, (row, *_) in self.cells.items():
            if row.frozen and (row.trained, row.decoded, row.blueprint) == (trained, decoded, wanted):
                return name
        raise DataError(
            f"no cell has a codec of {trained}, answers by {decoded} and blocks of {wanted}: make it with `{CROSS}`"
        )

    def delta(self, trained: str, decoded: str, blueprint: str | None = None) -> BDRate:
        """Bytes more or less than the native pair of ``decoded`` for the same agreement, Eq. (3) of chapter 07."""
        return self.deltas[self.cell(trained, decoded, blueprint)]

    def blueprints(self, network: str) -> dict[str, str]:
        """Blueprint to cell, all behind the codec of the backbone itself; its own family's first."""
        own = self.cells[self.natives(network)[0]][0].blueprint
        found = {r.blueprint: n for n, (r, *_) in self.cells.items() if r.frozen and r.trained == r.decoded == network}
        return {own: found[own]} | found

    def spread(self, network: str) -> list[float]:
        """What other seeds of the native pair need more or less than the first, in percent."""
        deltas = (self.deltas[name] for name in self.natives(network)[1:])
        return [delta.percent for delta in deltas if delta.percent is not None]

    def out_of_reach(self, trained: str, decoded: str) -> float:
        """Points of agreement by which a crossed pair's best rate stays below the native pair's; no delta counts them."""
        best = [
            max(row.agreement for row in self.cells[c]) for c in (self.natives(decoded)[0], self.cell(trained, decoded))
        ]
        return 100 * (best[0] - best[1])

    def at_equal_bytes(self, quality: str) -> tuple[np.ndarray, float]:
        """``top1`` or ``agreement`` of every pair (trained, decoded), in the middle of the bytes that all of them reach.

        Returns:
            (N, N) shares, and the bytes. The diagonal holds native pairs.
        """
        names = [
            [self.natives(b)[0] if a == b else self.cell(a, b) for b in self.networks] for a in self.networks
        ]  # fmt: skip
        curves = {name: self.cells[name] for row in names for name in row}
        low, high = equal_bytes(curves)[1]
        middle = float(np.sqrt(low * high))
        found = {
            name: np.interp(np.log(middle), np.log([r.bytes for r in rows]), [getattr(r, quality) for r in rows])
            for name, rows in curves.items()
        }
        return np.array([[found[name] for name in row] for row in names]), middle


@dataclass(frozen=True)
class Ablation:
    """Native pairs with decoders of other depths and widths.

    Attributes:
        rows: of the table.
        times: (backbone, restoration, width) to milliseconds a latent.
    """

    rows: list[CrossRow]
    times: dict[tuple[str, int, int], float]

    @property
    def networks(self) -> list[str]:
        """The backbones, in the table's order."""
        return list(dict.fromkeys(row.decoded for row in self.rows))

    def curves(self, network: str) -> dict[tuple[int, int], list[CrossRow]]:
        """(restoration, width) to its rows from the fewest bytes up, of the first seed."""
        return {key[:2]: rows for key, rows in self._cells(network).items() if key[2] == self._first}

    def scores(self, network: str) -> tuple[dict[tuple[int, int], float], tuple[float, float]]:
        """Accuracy at equal bytes by (restoration, width), of the first seed, and the range of bytes."""
        return equal_bytes(self.curves(network))

    def smallest(self, network: str) -> tuple[int, int]:
        """The smallest decoder within half a point of the best, Eq. (4) of chapter 07."""
        mine = [row for row in self.rows if row.decoded == network and row.seed == self._first]
        ((_, restoration, width),) = smallest_within(mine)
        return restoration, width

    def confirmed(self, network: str) -> list[float]:
        """Accuracy at equal bytes of the smallest decoder within half a point, a number a seed."""
        cells, winner = self._cells(network), self.smallest(network)
        scores, _ = equal_bytes(cells)
        return [scores[key] for key in sorted(cells) if key[:2] == winner]

    @property
    def _first(self) -> int:
        return min(row.seed for row in self.rows)

    def _cells(self, network: str) -> dict[tuple[int, int, int], list[CrossRow]]:
        cells: dict[tuple[int, int, int], list[CrossRow]] = {}
        for row in sorted(self.rows, key=lambda row: (row.restoration, row.width, row.seed, row.bytes)):
            if row.decoded == network:
                cells.setdefault((row.restoration, row.width, row.seed), []).append(row)
        return cells


def read_crossing(folder: Path) -> Crossing:
    """The tables ``cross_backbone.csv`` and ``cross_backbone_bd_rates.csv`` of a folder.

    Raises:
        DataError: a table is missing, or has not every pair of backbones.
    """
    cells: dict[str, list[CrossRow]] = {}
    for row in read_rows(folder / "cross_backbone.csv", CrossRow, CROSS):
        cells.setdefault(row.cell, []).append(row)
    deltas = {d.method: d for d in read_rows(folder / "cross_backbone_bd_rates.csv", BDRate, CROSS)}
    found = Crossing({name: sorted(rows, key=lambda row: row.bytes) for name, rows in cells.items()}, deltas)
    wanted = {found.cell(a, b) for a in found.networks for b in found.networks}
    if missing := wanted - set(deltas):
        raise DataError(f"no BD-rate of {', '.join(sorted(missing))} in {folder}: make both tables with `{CROSS}`")
    return found


def read_ablation(folder: Path) -> Ablation:
    """The tables ``decoder_ablation.csv`` and ``decoder_ablation_times.csv`` of a folder.

    Raises:
        DataError: a table is missing, or a decoder has no time.
    """
    rows = read_rows(folder / "decoder_ablation.csv", CrossRow, ABLATION)
    times = read_rows(folder / "decoder_ablation_times.csv", DecodeTime, ABLATION)
    known = {(row.decoded, row.restoration, row.width): row.decode_ms for row in times}
    missing = {(row.decoded, row.restoration, row.width) for row in rows} - set(known)
    if missing:
        raise DataError(f"no time of {sorted(missing)[0]} in {folder}: make both tables with `{ABLATION}`")
    return Ablation(rows, known)


def read_photo_servers(folder: Path, weights: str = "photo") -> dict[str, list[RatePoint]]:
    """The table ``photos_backbones.csv`` of a folder: by backbone, its rows from the fewest bytes up.

    Args:
        folder: of the table.
        weights: codec whose own backbone the table does not name.

    Raises:
        DataError: the table is missing, or two backbones were not sent the same packets.
    """
    own, found = read_card(weights).architecture["backbone"], {}
    for point in read_rows(folder / "photos_backbones.csv", RatePoint, PHOTOS):
        method, _, judge = point.method.partition(JUDGED)
        if method == "FrankenSplit":
            found.setdefault(judge or own, []).append(point)
    found = {judge: sorted(points, key=lambda point: point.bytes) for judge, points in found.items()}
    if len({tuple(point.bytes for point in points) for points in found.values()}) > 1:
        raise DataError(f"the backbones in {folder}/photos_backbones.csv were not sent the same packets: `{PHOTOS}`")
    return found


def equal_bytes(curves: dict[Hashable, list[CrossRow]]) -> tuple[dict[Hashable, float], tuple[float, float]]:
    """Accuracy at equal bytes: curves are interpolated over ln(bytes), and averaged over the bytes that all of them reach.

    Returns:
        The mean accuracy of each curve, and the range of bytes; one point where the curves share none.
    """
    low = max(min(row.bytes for row in curve) for curve in curves.values())
    high = max(low, min(max(row.bytes for row in curve) for curve in curves.values()))
    at, scores = np.linspace(np.log(low), np.log(high), 20), {}
    for key, curve in curves.items():
        points = sorted((np.log(row.bytes), row.top1) for row in curve)
        scores[key] = float(np.interp(at, *zip(*points, strict=True)).mean())
    return scores, (low, high)


def smallest_within(rows: list[CrossRow], loss: float = 0.005) -> list[tuple[str, int, int]]:
    """By backbone, the decoder of fewest parameters whose accuracy at equal bytes is within ``loss`` of the best one's.

    Implements Eq. (4) of chapter 07.

    Returns:
        (backbone, restoration, width) each.
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
