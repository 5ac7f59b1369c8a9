"""``fsplit evaluate``: measure on any folder of photos."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from typer import Argument, Option

from fsplit_lib.cli.photos import DEFAULT
from fsplit_lib.cli.progress import progress_bar
from fsplit_lib.data import caltech101, elpv, fashion_mnist, image_folder, load_photo, training_folder, write_rows
from fsplit_lib.errors import ParameterError

QUALITIES = {
    "JPEG": (1, 5, 10, 20, 40, 80),
    "WebP": (0, 5, 10, 25, 50, 80),
    "AVIF": (5, 12, 20, 30, 45, 65),
    "JPEG 2000": (20, 23, 26, 29, 33, 38),
    "JPEG XL": (0, 5, 10, 30, 50, 75),
    "HEIC": (5, 15, 25, 35, 45, 60),
}
if TYPE_CHECKING:
    from fsplit_lib.backbones import Backbone
    from fsplit_lib.data import ImageFolder
    from fsplit_lib.evaluation import BDRate, PerImageResult, RatePoint
    from fsplit_lib.system import FrankenSplit

WEIGHTS = Option(help="Codecs of one backbone; may be given more than once.")
NAME = Option(help="What the table calls the photos; the folder's name by default.")

app = typer.Typer(help="Measure on a folder of photos, or of recordings.", no_args_is_help=True)


def _readable(pictures: "ImageFolder") -> "ImageFolder":
    """What can be read: a table must not stop at a broken photo."""
    with progress_bar("photo", f"{pictures.name}, reading") as progress:
        return pictures.readable(progress)


def _curves_of(given: list[str]) -> dict[str, tuple[str, str, int | None]]:
    """Read ``FOLDER`` or ``CURVE=FOLDER,FOLDER,...``: what a system is called to its folder, its curve, and its place there.

    The place is the codec's number of channels, and None for a curve of one folder.
    """
    from fsplit_lib.zoo import card_names, read_card

    found: dict[str, tuple[str, str, int | None]] = {}
    for one in given:
        curve, several, parts = one.partition("=")
        if one in card_names() or Path(one).is_dir() or not several:  # a folder may have such a name
            curve, parts = "", one
        for folder in parts.split(",") if curve else [parts]:
            name, channels = Path(folder).name, None
            if name in found:
                raise ParameterError(
                    f"curves are called by their folders' names, and some of these share one: {', '.join(given)}"
                )
            if curve:
                codec = read_card(folder).architecture["codec"]
                if codec["anchors"]:
                    raise ParameterError(
                        f"{folder} is a curve of its own, of continuous rate: give it without {curve}="
                    )
                channels = codec["widths"][-1]
            found[name] = folder, curve or name, channels
    return found


def _in_curve(one: "PerImageResult", systems: dict[str, tuple[str, str, int | None]]) -> "PerImageResult":
    """Put a system of one setting into the curve that it was asked for, where its channels are the quality."""
    name, kind, uncoded = one.codec.partition(", ")
    _, curve, channels = systems.get(name, ("", "", None))
    return one if channels is None else replace(one, codec=curve + kind + uncoded, lmbda=None, quality=channels)


@app.command()
def photos(
    folder: Annotated[Path, Argument(help="Photos: labelled by sub-folder or ImageNet file name, or not at all.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/photos.csv"),
    weights: Annotated[
        list[str] | None,
        Option(
            help="Codecs; may be given more than once. CURVE=A,B,... makes one curve of several, by their channels."
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        Option(help="Networks that judge: timm names, or NAME=FILE of weights; by default the codecs' own."),
    ] = None,
    against: Annotated[
        list[str] | None, Option(help="Image codecs to measure as well; all by default, or none.")
    ] = None,
    name: Annotated[str | None, NAME] = None,
    anchor: Annotated[
        list[str] | None, Option(help="Curves that BD-rates are computed against; every curve by default.")
    ] = None,
    card: Annotated[bool, Option(help="Also write the scores into the codecs' cards.")] = False,
    jobs: Annotated[int, Option(min=1, help="Processes that share the photos.")] = 1,
    settings: Annotated[int, Option(min=2, help="Rates at which a codec of continuous rate is measured.")] = 7,
) -> None:
    """Measure bytes, agreement and top-1 of every codec on a folder of photos, and BD-rates with 95 % intervals from 100 photos on."""
    from fsplit_lib.backbones import photo_backbone
    from fsplit_lib.evaluation import bd_rates, evaluate_in_processes
    from fsplit_lib.evaluation.evaluate import BARE_JPEG, UNCODED
    from fsplit_lib.system import load_system
    from fsplit_lib.zoo import read_card, write_scores

    wanted = set(against or QUALITIES) - {"none"}
    if unknown := wanted - set(QUALITIES):
        raise ParameterError(f"no image codec {', '.join(sorted(unknown))}; there are {', '.join(QUALITIES)}, or none")
    qualities = {codec: steps for codec, steps in QUALITIES.items() if codec in wanted}
    pictures = image_folder(folder, name)
    systems = _curves_of(weights or [DEFAULT])
    folders = {name: folder for name, (folder, _, _) in systems.items()}
    ours = {curve for _, curve, _ in systems.values()}
    uncoded = {f"{curve}, {UNCODED}" for curve in ours}
    if unknown := set(anchor or ()) - ours - uncoded - {*qualities, *([BARE_JPEG] if "JPEG" in qualities else [])}:
        raise ParameterError(
            f"no curve {', '.join(sorted(unknown))} to compare with; there are {', '.join([*ours, *qualities])}"
        )
    own, *_ = (read_card(given).architecture["backbone"] for given in folders.values())
    judges = backbone or [own]
    for judge in judges[1:]:  # what is missing is told before the measuring, as is an impossible table
        teacher = photo_backbone(judge)
        for given in folders.values():
            load_system(given, teacher)
    out.parent.mkdir(parents=True, exist_ok=True)
    points, deltas, pictures = [], [], _readable(pictures)
    for judge in judges:
        with progress_bar("photo", f"{pictures.name}, {judge.partition('=')[0]}") as progress:
            measured = evaluate_in_processes(folders, judge, pictures, qualities, jobs, progress, settings)
        measured = [_in_curve(one, systems) for one in measured]
        points += [one.point() for one in measured]
        write_rows(out, points)
        with progress_bar("pair", "bootstrap") as progress:
            several = [name for name, count in Counter(one.codec for one in measured).items() if count > 1]
            pairs = [(codec, against) for against in anchor or () for codec in several if codec != against]
            deltas += bd_rates(measured, pairs or None, progress=progress)
    if deltas:
        write_rows(out.with_name(f"{out.stem}_bd_rates.csv"), deltas)
    if card:
        for weights_name, (given, curve, place) in systems.items():
            scores = [p for p in points if p.codec == "teacher" or (p.codec == curve and place in (None, p.quality))]
            write_scores(given, [asdict(p) | ({} if p.codec == "teacher" else {"codec": weights_name}) for p in scores])
    _tell(points, [delta for delta in deltas if delta.codec in ours | uncoded], own, out)


def _tell(points: "list[RatePoint]", deltas: "list[BDRate]", own: str, out: Path) -> None:
    from fsplit_lib.evaluation.tables import label_of

    for point in points:
        top1 = "" if point.top1 is None else f"  top-1 {point.top1:6.1%} [{point.top1_low:.1%}, {point.top1_high:.1%}]"
        typer.echo(
            f"{point.codec:18} {label_of(point.lmbda, point.quality):12} {point.backbone:22} {point.bytes:9,.0f} B  agreement {point.agreement:6.1%} "
            f"[{point.agreement_low:.1%}, {point.agreement_high:.1%}]{top1}  n {point.n}"
        )
    for delta in deltas:
        if delta.percent is not None:
            interval = delta.doubt or f"95 % interval {delta.low:+.1f} to {delta.high:+.1f}"
            judge = "" if delta.backbone == own else f" for {delta.backbone}"
            said = f"{delta.codec} against {delta.against}{judge}: {delta.percent:+.1f} % bytes at equal agreement"
            typer.echo(f"{said} ({interval})")
    typer.echo(f"{out}")


@app.command()
def speech(
    folder: Annotated[
        Path, Argument(help="Recordings {digit}_{speaker}_{n}.wav, such as the Free Spoken Digit Dataset's.")
    ],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/speech.csv"),
    weights: Annotated[list[str] | None, Option(help="Speech codecs; may be given more than once.")] = None,
    card: Annotated[bool, Option(help="Also write the scores into the codecs' cards.")] = False,
) -> None:
    """Measure bytes, agreement and accuracy on the held-out speakers: our packets, mel patches, and audio codecs that are installed."""
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.data.speech import spoken_digits
    from fsplit_lib.evaluation import bd_rates, evaluate_speech
    from fsplit_lib.system import load_system
    from fsplit_lib.zoo import write_scores

    folders = {Path(given).name: given for given in weights or ["speech"]}
    paths, digits = spoken_digits(folder, "test")
    teacher = load_backbone("speech-teacher")
    systems = {name: load_system(given, teacher) for name, given in folders.items()}
    with progress_bar("recording", folder.name) as progress:
        measured = evaluate_speech(systems, teacher, paths, digits, "spoken digits, held-out speakers", progress)
    points = [one.point() for one in measured]
    write_rows(out, points)
    with progress_bar("pair", "bootstrap") as progress:
        deltas = bd_rates(measured, progress=progress)
    write_rows(out.with_name(f"{out.stem}_bd_rates.csv"), deltas)
    if card:
        for name, given in folders.items():
            write_scores(given, [asdict(point) for point in points if point.codec == name])
    _tell(points, [delta for delta in deltas if delta.codec in folders], teacher.name, out)


@app.command()
def entropy(
    folder: Annotated[Path, Argument(help="Photos.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/side_information.csv"),
    name: Annotated[str | None, NAME] = None,
    card: Annotated[bool, Option(help="Also write the table into the models' card.")] = False,
) -> None:
    """Measure the bytes of the same latents under three entropy models, with and without side information."""
    from fsplit_lib.system import load_codec
    from fsplit_lib.training.side_information import load_entropy_models, measure_side_information
    from fsplit_lib.zoo import read_card, write_scores

    pictures = _readable(image_folder(folder, name))
    models, codec = load_entropy_models(), load_codec(read_card("side-information").architecture["codec"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("photo", pictures.name) as progress:
        rows = measure_side_information(models, codec, pictures, progress)
    write_rows(out, rows)
    if card:
        write_scores("side-information", [asdict(row) for row in rows])
    for row in rows:
        typer.echo(f"{row.model:22} {row.y_bytes:8,.0f} + {row.z_bytes:5,.0f} B  n {row.n}")
    typer.echo(f"{out}")


@app.command()
def context(
    folder: Annotated[Path, Argument(help="Photos.")],
    data: Annotated[Path, Option(help="Caltech-101, which the context is learned from.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/context.csv"),
    weights: Annotated[list[str] | None, WEIGHTS] = None,
    name: Annotated[str | None, NAME] = None,
) -> None:
    """Measure what a causal context saves on the symbols of codecs, photo and lean by default, and its time."""
    from fsplit_lib.system import load_codec
    from fsplit_lib.training.context import measure_context

    pictures, training, rows = _readable(image_folder(folder, name)), caltech101(data).readable(thorough=False), []
    for one in weights or ["photo", "lean"]:
        with progress_bar("photo", Path(one).name) as progress:
            rows += measure_context(Path(one).name, load_codec(one), training, pictures, progress=progress)
    write_rows(out, rows)
    for row in rows:
        interval = "" if row.saved_low is None else f" [{row.saved_low:.1f}, {row.saved_high:.1f}]"
        typer.echo(
            f"{row.codec:12} lmbda {row.lmbda:<5g} {row.plain_bytes:8,.0f} B, with a context {row.context_bytes:8,.0f} B: "
            f"{row.saved_percent:.1f} %{interval} saved; {row.plain_ms:.2f} and {row.context_ms:.2f} ms  n {row.n}"
        )
    typer.echo(f"{out}")


@app.command()
def work(
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/work.csv"),
    runs: Annotated[int, Option(min=2, help="Timed rounds.")] = 100,
) -> None:
    """Measure parameters, multiply-adds and milliseconds of every encoder and decoder of the book, beside image codecs."""
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.latency.work import measure_work
    from fsplit_lib.recipes.caltech import DECODERS, ENCODERS
    from fsplit_lib.recipes.prior_work import PRIOR_ENCODERS, SIDE_INFORMATION

    backbone = load_backbone("tf_efficientnet_lite0")
    with progress_bar("round") as progress:
        codecs = ENCODERS | PRIOR_ENCODERS, SIDE_INFORMATION, DECODERS
        rows = measure_work(*codecs, backbone, load_photo("astronaut"), runs, progress)
    write_rows(out, rows)
    for row in rows:
        size = "" if not row.parameters else f"{row.parameters:,} parameters, {row.multiply_adds / 1e6:,.0f} M"
        typer.echo(
            f"{row.part:15} {row.name:22} {row.precision:8} {row.median_ms:8.3f} ms, IQR {row.iqr_ms:.3f}  {size}"
        )
    typer.echo(f"{out}")


@app.command()
def tasks(
    folder: Annotated[Path, Argument(help="Photos in one sub-folder a class, such as Caltech-101.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/tasks.csv"),
    weights: Annotated[list[str] | None, WEIGHTS] = None,
    each: Annotated[int, Option(min=3, help="Photos of each class, drawn at random.")] = 10,
    fashion: Annotated[int, Option(min=3, help="Test pictures of each class of Fashion-MNIST, enlarged.")] = 40,
    cells: Annotated[Path | None, Option("--elpv", help="Folder of ELPV's solar cells; left out without.")] = None,
    each_kind: Annotated[int, Option("--cells", min=3, help="Cells, whole and defective, so many of each.")] = 500,
) -> None:
    """Measure other questions behind the same packets: what a linear probe gets right from packets, and from photos."""
    from fsplit_lib.evaluation.tables import label_of
    from fsplit_lib.evaluation.tasks import measure_tasks, task_of_folder, task_of_images

    systems, teacher = _systems(weights)
    pictures = _readable(training_folder(folder).drawn(each, 0, each=True))
    images, labels = fashion_mnist("test")
    first = np.sort(np.concatenate([np.flatnonzero(labels == label)[:fashion] for label in range(10)]))
    asked = [task_of_folder(pictures), task_of_images("fashion-mnist, enlarged", images[first], labels[first])]
    if cells is not None:
        asked.append(task_of_folder(elpv(cells).drawn(each_kind, 0, each=True)))
    with progress_bar("picture", "tasks") as progress:
        rows, gains = measure_tasks(systems, teacher, asked, progress)
    write_rows(out, rows)
    if gains:
        write_rows(out.with_name(f"{out.stem}_gains.csv"), gains)
    for row in rows:
        typer.echo(
            f"{row.task:24} {row.codec:18} {label_of(row.lmbda, None):12} {row.bytes:9,.0f} B  probe fitted to {row.probe:7} "
            f"{row.accuracy:6.1%}  lost {row.lost:6.1%}  spread {row.spread:.1%}  n {row.n}"
        )
    for gain in gains:
        span = "" if gain.low is None else f" [{gain.low:+.1f}, {gain.high:+.1f}]"
        typer.echo(f"{gain.task:24} {gain.codec:18} against {gain.against:18} {gain.points:+.1f} points{span}")
    typer.echo(f"{out}")


@app.command()
def maps(
    folder: Annotated[Path, Argument(help="Photos.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/maps.csv"),
    weights: Annotated[list[str] | None, WEIGHTS] = None,
    name: Annotated[str | None, NAME] = None,
    count: Annotated[int, Option("--photos", min=2, help="Photos, drawn at random.")] = 300,
) -> None:
    """Measure where the answer comes from: the teacher's Grad-CAM before and after packets, and after JPEG of as many bytes."""
    from fsplit_lib.evaluation.map_agreement import measure_maps
    from fsplit_lib.evaluation.tables import label_of

    systems, teacher = _systems(weights)
    pictures = _readable(image_folder(folder, name, loose=True).drawn(count, 0))
    with progress_bar("photo", f"{pictures.name}, maps") as progress:
        rows = measure_maps(systems, teacher, pictures, progress)
    write_rows(out, rows)
    for row in rows:
        typer.echo(
            f"{row.codec:18} {label_of(row.lmbda, None):12} {row.bytes:9,.0f} B  correlation {row.correlation:.3f}  "
            f"pointing {row.pointing:6.1%}  n {row.n}"
        )
    typer.echo(f"{out}")


@app.command()
def map_ages(
    folder: Annotated[Path, Argument(help="Caltech-101's folder.")],
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/map_ages.csv"),
    steps: Annotated[int, Option(min=32, help="Of the training.")] = 391,
    count: Annotated[int, Option("--crops", min=2, help="Crops whose maps are compared.")] = 128,
) -> None:
    """Measure how fast saliency maps go stale in one short training, and what they cost."""
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.evaluation.map_agreement import measure_map_ages, measure_map_costs
    from fsplit_lib.recipes.caltech import ABLATION

    plan, teacher = ABLATION["base"], load_backbone("tf_efficientnet_lite0")
    pictures = caltech101(folder).readable(thorough=False)
    with progress_bar("step", "maps") as progress:
        ages, system = measure_map_ages(teacher, pictures, plan, steps, count, progress)
    costs = measure_map_costs(system, pictures, plan)
    write_rows(out, ages)
    write_rows(out.with_name(f"{out.stem}_costs.csv"), costs)
    for age in ages:
        typer.echo(
            f"step {age.step:5} {age.layers:6} {age.first:8} {age.second:8} {age.age:4} steps old: {age.correlation:.3f}"
        )
    for cost in costs:
        typer.echo(f"{cost.part:8} {cost.median_ms:7.1f} ms, IQR {cost.iqr_ms:.1f}, {cost.times:,} times")
    typer.echo(f"{out}")


def _systems(weights: list[str] | None) -> tuple[dict[str, "FrankenSplit"], "Backbone"]:
    """Codecs by their folders' names, and the backbone of the first, which has to be that of all."""
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.system import load_system
    from fsplit_lib.zoo import read_card

    given = weights or [DEFAULT]
    teacher = load_backbone(read_card(given[0]).architecture["backbone"])
    return {Path(one).name: load_system(one, teacher) for one in given}, teacher
