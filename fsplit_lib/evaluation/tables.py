"""The result tables: what a row holds, and which command makes the table.

:data:`TABLES` says table → row type → command; :func:`read_table` reads one of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsplit_lib.data import data_root, read_rows
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation.intervals import LEAST_PHOTOS


def label_of(lmbda: float | None, quality: float | None) -> str:
    """Name a setting for texts and figures: "lmbda 0.3", "q20", or nothing where there is neither."""
    return f"lmbda {lmbda:.3g}" if lmbda is not None else "" if quality is None else f"q{quality:g}"


@dataclass(frozen=True)
class RatePoint:
    """One setting of one codec on a set of pictures; all intervals are Wilson's, 95 %.

    Attributes:
        dataset: name of the pictures.
        codec: name of the curve: the weights of a codec of ours, an image codec, or "teacher" without compression.
        lmbda: rate weight of a codec of ours, else None.
        quality: of an image codec, in its own scale, else None.
        backbone: network that judged.
        bytes: mean of whole packets or files.
        agreement: top-1 agreement with the teacher.
        agreement_low: lower end of its interval.
        agreement_high: upper end.
        top1: accuracy, or None without labels.
        top1_low: lower end, or None.
        top1_high: upper end, or None.
        n: pictures.
    """

    dataset: str
    codec: str
    lmbda: float | None
    quality: float | None
    backbone: str
    bytes: float
    agreement: float
    agreement_low: float
    agreement_high: float
    top1: float | None
    top1_low: float | None
    top1_high: float | None
    n: int


@dataclass(frozen=True)
class BDRate:
    """Bytes that one codec saves against another at equal agreement.

    Attributes:
        dataset: name of the pictures.
        backbone: network that judged both.
        codec: the tested curve.
        against: the anchor.
        percent: negative where the codec needs fewer bytes; None where the curves share no quality, or only one.
        low: lower end of the 95 % bootstrap interval over photos (:func:`~fsplit_lib.evaluation.intervals.middle`), taken
            over the draws in which the curves share quality; None where most do not, or there are too few photos.
        high: upper end.
        agreement_from: the least agreement that both curves reach.
        agreement_to: the largest.
        n: photos.
    """

    dataset: str
    backbone: str
    codec: str
    against: str
    percent: float | None
    low: float | None
    high: float | None
    agreement_from: float | None
    agreement_to: float | None
    n: int

    @property
    def verdict(self) -> Literal["fewer", "more", "open"]:
        """Whether the whole interval says fewer bytes, or more; "open" where it does not, or there is none."""
        if self.low is None or self.high is None:
            return "open"
        return "more" if self.low > 0 else "fewer" if self.high < 0 else "open"

    @property
    def doubt(self) -> str:
        """Why there is no interval, or nothing."""
        if self.low is not None:
            return ""
        if self.n < LEAST_PHOTOS:
            return f"too few photos for an interval: {self.n}, and it takes {LEAST_PHOTOS}"
        return "no interval: most resampled sets of photos share no quality"


@dataclass(frozen=True)
class CrossRow:
    """One rate weight of one cell, on all test pictures.

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
class SweepRow:
    """One trained system of a sweep, measured with real packets on all test pictures.

    Attributes:
        objective: see :func:`fsplit_lib.objectives.loss_of`.
        lmbda: weight of the rate.
        seed: of everything random.
        bytes: mean of whole packets.
        bits: mean of what the integer tables assign, without any header; None where it was not recorded.
        top1: accuracy.
        agreement: top-1 agreement with the teacher.
        distortion: of the decoded features, with rounding.
        n: test pictures.
    """

    objective: str
    lmbda: float
    seed: int
    bytes: float
    bits: float | None
    top1: float
    agreement: float
    distortion: float
    n: int


@dataclass(frozen=True)
class SideRow:
    """One entropy model on a set of photos.

    Attributes:
        dataset: name of the photos.
        model: "factorised", "scale hyperprior" or "mean-scale hyperprior".
        y_bytes: mean stream of the latent.
        z_bytes: mean stream of the side information.
        n: photos.
    """

    dataset: str
    model: str
    y_bytes: float
    z_bytes: float
    n: int


@dataclass(frozen=True)
class TaskRow:
    """Another question behind one rate of a codec; intervals are the bootstrap's over pictures, 95 %.

    Attributes:
        task: name of the labelled pictures.
        codec: the weights of a codec, or "teacher" without compression.
        lmbda: rate weight, or None without compression.
        probe: what the linear probe was fitted to: features from "packets" of this very rate, or from "photos".
        backbone: whose pooled features the probe reads.
        bytes: mean of whole packets, or of raw 8-bit RGB.
        accuracy: on pictures that the probe was not fitted to, mean over the splits.
        accuracy_low: lower end of its interval.
        accuracy_high: upper end.
        lost: accuracy from photos, of a probe fitted to photos, minus this one, on the same pictures.
        lost_low: lower end.
        lost_high: upper end.
        spread: largest minus smallest accuracy over the splits.
        splits: random splits; in each of them every picture is judged once.
        classes: number of answers.
        n: pictures.
    """

    task: str
    codec: str
    lmbda: float | None
    probe: str
    backbone: str
    bytes: float
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    lost: float
    lost_low: float | None
    lost_high: float | None
    spread: float
    splits: int
    classes: int
    n: int


@dataclass(frozen=True)
class MapRow:
    """How well the teacher's map survives a codec; intervals are the bootstrap's over photos, 95 %.

    Attributes:
        dataset: name of the photos.
        codec: the weights of a codec, an image codec, or "another photo" for a map that was not its own.
        lmbda: rate weight of the packets; an image codec got each packet's bytes, or as few as it can.
        backbone: whose maps.
        bytes: mean of packets or files.
        correlation: Pearson's, of the map before and the map after, mean over the photos.
        correlation_low: lower end of its interval.
        correlation_high: upper end.
        pointing: share of photos whose peak after lies in the top fifth of the map before.
        pointing_low: lower end.
        pointing_high: upper end.
        agreement: share of photos whose answer stayed the teacher's, or None for another photo's map.
        correlation_changed: mean correlation of the photos whose answer changed, or None without any.
        n: photos.
    """

    dataset: str
    codec: str
    lmbda: float | None
    backbone: str
    bytes: float
    correlation: float
    correlation_low: float | None
    correlation_high: float | None
    pointing: float
    pointing_low: float | None
    pointing_high: float | None
    agreement: float | None
    correlation_changed: float | None
    n: int


@dataclass(frozen=True)
class MapAgeRow:
    """How alike two Grad-CAM maps are at one point of a training; intervals are the bootstrap's over crops, 95 %.

    Attributes:
        step: of the training, counted from 1.
        layers: whose maps: "cut", or "behind" it, of stride 16 and 32.
        first: "crop" for the teacher's map of the very crop, or "decoded" for the split network's.
        second: "photo" for the teacher's map of the whole photo, cropped; "crop"; or "decoded", at the point before.
        age: steps between the two maps.
        correlation: Pearson's, mean over the crops.
        correlation_low: lower end of its interval, or None with too few crops.
        correlation_high: upper end.
        n: crops.
    """

    step: int
    layers: str
    first: str
    second: str
    age: int
    correlation: float
    correlation_low: float | None
    correlation_high: float | None
    n: int


@dataclass(frozen=True)
class MapCostRow:
    """What a part of training costs, in processor time of one thread.

    Attributes:
        part: "step" of 16 crops without maps; maps of its "crop"s or "decoded" features; or one "photo"'s map, once.
        median_ms: over the runs, all parts in turns.
        iqr_ms: between the quartiles.
        runs: after warming up.
        times: how often 25,008 crops of Caltech-101 need it.
        cpu: that ran it.
    """

    part: str
    median_ms: float
    iqr_ms: float
    runs: int
    times: int
    cpu: str


@dataclass(frozen=True)
class LatencyRow:
    """One stage of one method.

    Attributes:
        network: whose answer it is, as timm calls it; "" where it makes no difference.
        method: as in the book's figures.
        lmbda: rate weight of our packets; None for other methods, and where it makes no difference.
        quality: of an image codec; None for other methods, and where it makes no difference.
        stage: what was timed; "send" for the wire.
        place: "device", "wire" or "server"; "check" for rows that are no part of a method's time.
        engine: what ran it.
        precision: of a network, "" where none runs.
        threads: that the stage could use.
        median_ms: milliseconds; None on the wire, whose time depends on the link.
        iqr_ms: between the quartiles, or None.
        runs: timed, in turns with all other rows.
        level: the agreement that the setting was chosen for; None for methods without a setting.
        bytes: sent, mean over the photos.
        agreement: top-1 agreement with the teacher, measured on the photos; None where there were too few to tell,
            or where a network is untrained and only its time is known.
        n: photos.
        cpu: that ran it.
        versions: of what ran it.
    """

    network: str
    method: str
    lmbda: float | None
    quality: float | None
    stage: str
    place: str
    engine: str
    precision: str
    threads: int
    median_ms: float | None
    iqr_ms: float | None
    runs: int
    level: float | None
    bytes: float
    agreement: float | None
    n: int
    cpu: str
    versions: str

    @property
    def setting(self) -> str:
        """The setting in words, see :func:`label_of`."""
        return label_of(self.lmbda, self.quality)


@dataclass(frozen=True)
class WorkRow:
    """One network or image codec, for one crop of 224 x 224 on one thread.

    Attributes:
        part: "encoder", "decoder", "decoder + tail", "head", "network" or "image codec".
        name: of the encoder, decoder, network or library.
        parameters: how many; 0 for an image codec.
        multiply_adds: how many; 0 for an image codec.
        precision: "float32" or "int8" by onnxruntime; "" for an image codec.
        median_ms: over the runs, in turns with all other rows.
        iqr_ms: between the quartiles.
        runs: after warming up.
        cpu: that ran it.
    """

    part: str
    name: str
    parameters: int
    multiply_adds: int
    precision: str
    median_ms: float
    iqr_ms: float
    runs: int
    cpu: str


@dataclass(frozen=True)
class Table:
    """What a row of a table is, and the command that makes the table."""

    row: type
    command: str


TABLES = {
    name: Table(row, command)
    for command, tables in {
        "fsplit evaluate photos FOLDER --weights photo --weights photo-head --weights photo-first": {
            "photos.csv": RatePoint, "photos_bd_rates.csv": BDRate,
        },
        "fsplit evaluate photos FOLDER --against none --backbone tf_efficientnet_lite0 --backbone tf_efficientnet_lite1 "
        "--backbone tf_efficientnet_lite2": {"photos_backbones.csv": RatePoint},
        "fsplit evaluate photos FOLDER --against none --weights saliency-unguided-0 --weights ...": {
            "saliency_variants.csv": RatePoint, "saliency_variants_bd_rates.csv": BDRate,
        },
        "fsplit evaluate photos FOLDER --against none --weights ablation-base --weights ...": {
            "ablation.csv": RatePoint, "ablation_bd_rates.csv": BDRate,
        },
        "fsplit evaluate photos FOLDER --against none --weights ablation-base --weights prior-student ... --anchor ablation-base": {
            "prior_work.csv": RatePoint, "prior_work_bd_rates.csv": BDRate,
        },
        "fsplit evaluate map-ages FOLDER": {"map_ages.csv": MapAgeRow, "map_ages_costs.csv": MapCostRow},
        "fsplit evaluate work": {"work.csv": WorkRow},
        "fsplit evaluate speech RECORDINGS --weights speech --weights build/weights/speech-1": {
            "speech.csv": RatePoint, "speech_bd_rates.csv": BDRate,
        },
        "fsplit evaluate entropy FOLDER": {"side_information.csv": SideRow},
        "fsplit evaluate tasks FOLDER": {"tasks.csv": TaskRow},
        "fsplit evaluate maps FOLDER": {"maps.csv": MapRow},
        "fsplit latency --photos FOLDER": {"latency.csv": LatencyRow},
        "fsplit train cross_backbone --out data/results/cross_backbone": {"cross_backbone.csv": CrossRow, "cross_backbone_bd_rates.csv": BDRate},
        "fsplit train decoder_ablation --out data/results/decoder_ablation": {"decoder_ablation.csv": CrossRow, "decoder_ablation_times.csv": DecodeTime},
        "fsplit train fashion_sweep": {"fashion_sweep.csv": SweepRow},
        "fsplit train label_bits": {"label_bits.csv": SweepRow},
    }.items()
    for name, row in tables.items()
}  # fmt: skip


def read_table(name: str, folder: Path | None = None) -> list[Any]:
    """Read a result table.

    Args:
        name: a key of :data:`TABLES`.
        folder: of the table; ``results`` of the data folder by default.

    Raises:
        DataError: there is no such table, or see :func:`fsplit_lib.data.read_rows`.

    >>> read_table("photos.csv")[0].codec
    'teacher'
    """
    if name not in TABLES:
        raise DataError(f"no table is called {name!r}; there are {', '.join(TABLES)}")
    return read_rows((folder or data_root() / "results") / name, TABLES[name].row, TABLES[name].command)
