"""The result tables: what a row holds, and which command makes the table.

:data:`TABLES` says table → row type → command; :func:`read_table` reads one of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsplit_lib.data import data_root, read_rows
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation.intervals import LEAST_PHOTOS, wilson


def label_of(lmbda: float | None, quality: float | None) -> str:
    """Name a setting for texts and figures: "lambda 0.3", "q20", or nothing where there is neither."""
    return f"lambda {lmbda:.3g}" if lmbda is not None else "" if quality is None else f"q{quality:g}"


@dataclass(frozen=True)
class RatePoint:
    """One setting of one codec on a set of pictures; all intervals are Wilson's, 95 %."""

    dataset: str  # name of the pictures
    codec: str  # name of the curve: the weights of a codec of ours, an image codec, or "teacher" without compression
    lmbda: float | None  # rate weight of a codec of ours, else None
    quality: float | None  # of an image codec, in its own scale, else None
    backbone: str  # network that judged
    bytes: float  # mean of whole packets or files
    agreement: float  # top-1 agreement with the teacher
    agreement_low: float  # lower end of its interval
    agreement_high: float  # upper end
    top1: float | None  # accuracy, or None without labels
    top1_low: float | None  # lower end, or None
    top1_high: float | None  # upper end, or None
    n: int  # pictures


@dataclass(frozen=True)
class PerImageResult:
    """One setting of one codec on every picture of a set; the first five are those of a :class:`RatePoint`."""

    dataset: str
    codec: str
    lmbda: float | None
    quality: float | None
    backbone: str
    sizes: np.ndarray  # (N,) bytes of whole packets or files
    decided: np.ndarray  # (N,) top-1 behind the codec
    teacher: np.ndarray  # (N,) the teacher's top-1 on the same crops
    labels: np.ndarray | None  # (N,) true classes

    def point(self) -> RatePoint:
        """Summarise as the row of a result table."""
        n, ours = len(self.sizes), (self.dataset, self.codec, self.lmbda, self.quality, self.backbone)
        agree = int((self.decided == self.teacher).sum())
        right = None if self.labels is None else int((self.decided == self.labels).sum())
        top1 = (None, None, None) if right is None else (right / n, *wilson(right, n))
        return RatePoint(*ours, float(np.mean(self.sizes)), agree / n, *wilson(agree, n), *top1, n)


@dataclass(frozen=True)
class BDRate:
    """Bytes that one codec saves against another at equal agreement."""

    dataset: str  # name of the pictures
    backbone: str  # network that judged both
    codec: str  # the tested curve
    against: str  # the anchor
    # negative where the codec needs fewer bytes; None where the curves share no quality, or only one
    percent: float | None
    # lower end of the 95 % bootstrap interval over photos (:func:`~fsplit_lib.evaluation.intervals.middle`), taken
    # over the draws in which the curves share quality; None where most do not, or there are too few photos
    low: float | None
    high: float | None  # upper end
    agreement_from: float | None  # the least agreement that both curves reach
    agreement_to: float | None  # the largest
    n: int  # photos

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
    """One rate weight of one cell, on all test pictures."""

    cell: str  # name in the grid
    trained: str  # backbone that the codec was trained with
    decoded: str  # backbone that answers
    blueprint: str  # family of the decoder's transformation blocks
    frozen: int  # 1 where only the decoder was trained for this backbone, 0 for a native pair
    restoration: int  # number of restoration blocks
    width: int  # of the decoder
    parameters: int  # of the decoder
    seed: int  # of everything random
    lmbda: float  # weight of the rate
    bytes: float  # mean of whole packets
    top1: float  # accuracy; ``top1_low`` and ``top1_high`` are Wilson's 95 % interval
    top1_low: float
    top1_high: float
    agreement: float  # top-1 agreement with the backbone that answers, with the same interval
    agreement_low: float
    agreement_high: float
    n: int  # test pictures


@dataclass(frozen=True)
class DecodeTime:
    """How long a decoder of the ablation takes for one latent, on one thread of the machine that wrote the table."""

    decoded: str  # the backbone
    restoration: int  # number of restoration blocks
    width: int  # their channels
    decode_ms: float  # median over the runs, all decoders in turns
    iqr_ms: float  # between the quartiles
    runs: int  # after warming up


@dataclass(frozen=True)
class SweepRow:
    """One trained system of a sweep, measured with real packets on all test pictures."""

    objective: str  # see :func:`fsplit_lib.objectives.loss_of`
    lmbda: float  # weight of the rate
    seed: int  # of everything random
    bytes: float  # mean of whole packets
    bits: float | None  # mean of what the integer tables assign, without any header; None where it was not recorded
    top1: float  # accuracy
    agreement: float  # top-1 agreement with the teacher
    distortion: float  # of the decoded features, with rounding
    n: int  # test pictures


@dataclass(frozen=True)
class SideRow:
    """One entropy model on a set of photos."""

    dataset: str  # name of the photos
    model: str  # "factorised", "scale hyperprior" or "mean-scale hyperprior"
    y_bytes: float  # mean stream of the latent
    z_bytes: float  # mean stream of the side information
    n: int  # photos


@dataclass(frozen=True)
class ContextRow:
    """A codec's symbols at one rate weight, coded with its channels' own tables and with a causal context."""

    dataset: str  # name of the photos
    codec: str  # weights
    lmbda: float  # rate weight
    plain_bytes: float  # mean stream with the channels' own tables
    context_bytes: float  # mean stream with the context
    saved_percent: float  # what the context saves of the bytes of all photos
    saved_low: float | None  # lower end of the 95 % bootstrap interval over photos
    saved_high: float | None  # upper end
    plain_ms: float  # median time of coding one photo with the own tables
    context_ms: float  # with the context, timed in turns with it
    n: int  # photos


@dataclass(frozen=True)
class TaskRow:
    """Another question behind one rate of a codec; intervals are the bootstrap's over pictures, 95 %."""

    task: str  # name of the labelled pictures
    codec: str  # the weights of a codec, or "teacher" without compression
    lmbda: float | None  # rate weight, or None without compression
    probe: str  # what the linear probe was fitted to: features from "packets" of this very rate, or from "photos"
    backbone: str  # whose pooled features the probe reads
    bytes: float  # mean of whole packets, or of raw 8-bit RGB
    accuracy: float  # on pictures that the probe was not fitted to, mean over the splits
    accuracy_low: float | None  # lower end of its interval
    accuracy_high: float | None  # upper end
    lost: float  # accuracy from photos, of a probe fitted to photos, minus this one, on the same pictures
    lost_low: float | None  # lower end
    lost_high: float | None  # upper end
    spread: float  # largest minus smallest accuracy over the splits
    splits: int  # random splits; in each of them every picture is judged once
    classes: int  # number of answers
    n: int  # pictures


@dataclass(frozen=True)
class TaskGainRow:
    """What one codec's packets are better for than another's at equal bytes; bootstrap over pictures, 95 %."""

    task: str  # name of the labelled pictures
    codec: str  # the tested weights
    against: str  # the other ones
    points: float  # accuracy of the probe fitted to packets, mean difference over the bytes that both reach, in percent
    low: float | None  # lower end of its interval, or None with too few pictures
    high: float | None  # upper end
    bytes_from: float  # the fewest bytes that both reach, mean of whole packets
    bytes_to: float  # the most
    n: int  # pictures


@dataclass(frozen=True)
class MapRow:
    """How well the teacher's map survives a codec; intervals are the bootstrap's over photos, 95 %."""

    dataset: str  # name of the photos
    codec: str  # the weights of a codec, an image codec, or "another photo" for a map that was not its own
    lmbda: float | None  # rate weight of the packets; an image codec got each packet's bytes, or as few as it can
    backbone: str  # whose maps
    bytes: float  # mean of packets or files
    correlation: float  # Pearson's, of the map before and the map after, mean over the photos
    correlation_low: float | None  # lower end of its interval
    correlation_high: float | None  # upper end
    pointing: float  # share of photos whose peak after lies in the top fifth of the map before
    pointing_low: float | None  # lower end
    pointing_high: float | None  # upper end
    agreement: float | None  # share of photos whose answer stayed the teacher's, or None for another photo's map
    correlation_changed: float | None  # mean correlation of the photos whose answer changed, or None without any
    n: int  # photos


@dataclass(frozen=True)
class MapAgeRow:
    """How alike two Grad-CAM maps are at one point of a training; intervals are the bootstrap's over crops, 95 %."""

    step: int  # of the training, counted from 1
    layers: str  # whose maps: "cut", or "behind" it, of stride 16 and 32
    first: str  # "crop" for the teacher's map of the very crop, or "decoded" for the split network's
    second: str  # "photo" for the teacher's map of the whole photo, cropped; "crop"; "decoded", at the point before
    age: int  # steps between the two maps
    correlation: float  # Pearson's, mean over the crops
    correlation_low: float | None  # lower end of its interval, or None with too few crops
    correlation_high: float | None  # upper end
    control: float  # mean correlation of the first map with the second of another crop
    n: int  # crops


@dataclass(frozen=True)
class MapCostRow:
    """What a part of training costs, in processor time of one thread."""

    part: str  # "step" of 16 crops without maps; maps of its "crop"s or "decoded" features; one "photo"'s map, once
    median_ms: float  # over the runs, all parts in turns
    iqr_ms: float  # between the quartiles
    runs: int  # after warming up
    times: int  # how often 25,008 crops of Caltech-101 need it
    cpu: str  # that ran it


@dataclass(frozen=True)
class LatencyRow:
    """One stage of one method."""

    network: str  # whose answer it is, as timm calls it; "" where it makes no difference
    method: str  # as in the book's figures
    lmbda: float | None  # rate weight of our packets; None for other methods, and where it makes no difference
    quality: float | None  # of an image codec; None for other methods, and where it makes no difference
    stage: str  # what was timed; "send" for the wire
    place: str  # "device", "wire" or "server"; "check" for rows that are no part of a method's time
    engine: str  # what ran it
    precision: str  # of a network, "" where none runs
    threads: int  # that the stage could use
    median_ms: float | None  # milliseconds; None on the wire, whose time depends on the link
    iqr_ms: float | None  # between the quartiles, or None
    runs: int  # timed, in turns with all other rows
    level: float | None  # the agreement that the setting was chosen for; None for methods without a setting
    bytes: float  # sent, mean over the photos
    # top-1 agreement with the teacher, measured on the photos; None where there were too few to tell, or where a
    # network is untrained and only its time is known
    agreement: float | None
    n: int  # photos
    cpu: str  # that ran it
    versions: str  # of what ran it

    @property
    def setting(self) -> str:
        """The setting in words, see :func:`label_of`."""
        return label_of(self.lmbda, self.quality)


@dataclass(frozen=True)
class WorkRow:
    """One network or image codec, for one crop of 224 x 224 on one thread."""

    part: str  # "encoder", "side information", "decoder", "decoder + tail", "head", "network" or "image codec"
    name: str  # of the encoder, decoder, network or library
    parameters: int  # how many; 0 for an image codec
    multiply_adds: int  # how many; 0 for an image codec
    precision: str  # "float32" or "int8" by onnxruntime; "" for an image codec
    median_ms: float  # over the runs, in turns with all other rows
    iqr_ms: float  # between the quartiles
    runs: int  # after warming up
    cpu: str  # that ran it


@dataclass(frozen=True)
class Table:
    """What a row of a table is, and the command that makes the table."""

    row: type
    command: str


PHOTOS = "fsplit evaluate photos FOLDER"
CURVES = {  # tables of rate points, each with its BD-rates in NAME_bd_rates.csv
    "photos": f"{PHOTOS} --weights photo --weights photo-head --weights photo-first",
    "saliency_variants": f"{PHOTOS} --against none --weights saliency-unguided-0 --weights ...",
    "regularisers": f"{PHOTOS} --against none --weights ablation-base --weights regulariser-guided-0 ...",
    "ablation": f"{PHOTOS} --against none --weights ablation-base --weights ...",
    "prior_work": f"{PHOTOS} --against none --weights ablation-base --weights prior-student ... --anchor ablation-base",
    "learned_codecs": f"{PHOTOS} --against none --weights ablation-base --weights prior-hyperprior ...",
    "recipe": f"{PHOTOS} --against none --weights ablation-base --weights ablation-averaging ... --weights photo-control",
    "objectives": f"{PHOTOS} --against none --weights ablation-base --weights ablation-contrast ...",
    "lean": f"{PHOTOS} --against WebP --against AVIF --weights photo --weights lean --weights lean-head "
    "--anchor photo --anchor WebP --anchor AVIF",
    "speech": "fsplit evaluate speech RECORDINGS --weights speech --weights build/weights/speech-1",
}
OTHERS = {
    f"{PHOTOS} --against none --backbone tf_efficientnet_lite0 --backbone tf_efficientnet_lite1 "
    "--backbone tf_efficientnet_lite2": {"photos_backbones.csv": RatePoint},
    "fsplit evaluate map-ages FOLDER": {"map_ages.csv": MapAgeRow, "map_ages_costs.csv": MapCostRow},
    "fsplit evaluate work": {"work.csv": WorkRow},
    "fsplit evaluate entropy FOLDER": {"side_information.csv": SideRow},
    "fsplit evaluate context FOLDER --data CALTECH": {"context.csv": ContextRow},
    "fsplit evaluate tasks FOLDER --elpv CELLS": {"tasks.csv": TaskRow},
    "fsplit evaluate tasks FOLDER --weights ablation-base --weights ablation-contrast ...":
        {"objectives_tasks.csv": TaskRow, "objectives_tasks_gains.csv": TaskGainRow},
    "fsplit evaluate maps FOLDER": {"maps.csv": MapRow},
    "fsplit latency --photos FOLDER": {"latency.csv": LatencyRow},
    "fsplit latency --photos FOLDER --weights lean": {"latency_lean.csv": LatencyRow},
    "fsplit train cross_backbone --out data/results/cross_backbone":
        {"cross_backbone.csv": CrossRow, "cross_backbone_bd_rates.csv": BDRate},
    "fsplit train decoder_ablation --out data/results/decoder_ablation":
        {"decoder_ablation.csv": CrossRow, "decoder_ablation_times.csv": DecodeTime},
    "fsplit train fashion_sweep": {"fashion_sweep.csv": SweepRow},
    "fsplit train label_bits": {"label_bits.csv": SweepRow},
}  # fmt: skip
TABLES = {
    **{f"{name}.csv": Table(RatePoint, command) for name, command in CURVES.items()},
    **{f"{name}_bd_rates.csv": Table(BDRate, command) for name, command in CURVES.items()},
    **{name: Table(row, command) for command, tables in OTHERS.items() for name, row in tables.items()},
}


def incomplete(name: str, what: str) -> DataError:
    """Return the error that something is missing or wrong in a table, with the command that makes it."""
    return DataError(f"{what}: make it with `{TABLES[name].command}`")


def read_table(name: str, folder: Path | None = None) -> list[Any]:
    """Read a result table, a key of :data:`TABLES`; its folder is ``results`` of the data folder by default.

    Raises:
        DataError: there is no such table, or see :func:`fsplit_lib.data.read_rows`.

    >>> read_table("photos.csv")[0].codec
    'teacher'
    """
    if name not in TABLES:
        raise DataError(f"no table is called {name!r}; there are {', '.join(TABLES)}")
    return read_rows((folder or data_root() / "results") / name, TABLES[name].row, TABLES[name].command)
