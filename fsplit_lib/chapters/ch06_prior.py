"""Chapter 06, second half: earlier split computing at one budget, and the plane of bytes, agreement and work."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from fsplit_lib.evaluation import BDRate, RatePoint
from fsplit_lib.evaluation.curves import bytes_at
from fsplit_lib.evaluation.evaluate import LATENT_ALONE
from fsplit_lib.evaluation.tables import WorkRow
from fsplit_lib.panels.base import Number, Panel
from fsplit_lib.plots.curves import rate_accuracy, rate_curve
from fsplit_lib.plots.forest import MORE_OR_FEWER, forest
from fsplit_lib.plots.style import Look, finish, look_of

BASE = "ablation-base"


@dataclass(frozen=True)
class Method:
    """One curve of ``prior_work.csv``."""

    label: str  # what figures call it
    look: Look  # how figures draw it
    encoder: str = ""  # its name in ``work.csv``; "" for an image codec


STUDENT, PATCH = Look("#332288", "dash", "square-open"), Look("#009E73", "dashdot", "triangle-up")
CUT, UNCODED = Look("#882255", "dot", "cross"), Look("#882255", "longdash", "cross-open")
PRIOR = {
    BASE: Method("FrankenSplit's base", look_of("FrankenSplit"), "FrankenSplit"),
    "prior-base-tail": Method("the base, tail fine-tuned", Look("#D55E00", "dash", "circle-open"), "FrankenSplit"),
    "prior-student": Method("Entropic Student", STUDENT, "Entropic Student"),
    "prior-patch-4": Method("patches and 4 blocks", PATCH, "patch, 4 blocks"),
    "prior-reduction": Method("channel reduction, entropy coded", CUT, "channel reduction"),
    "prior-reduction, 8 bits per value": Method("channel reduction, 8 bits", UNCODED, "channel reduction"),
    "prior-pixels": Method("the same encoder for pixels", Look("#663300", "longdashdot", "pentagon"), "FrankenSplit"),
    "prior-hyperprior": Method("the base, with side information", Look("#D55E00", "dash", "circle-open"), "FrankenSplit"),
    "prior-pixels-hyperprior": Method("pixels, with side information", Look("#663300", "dot", "pentagon-open"), "FrankenSplit"),
    "prior-compressai": Method("CompressAI's networks, pixels", Look("#117733", "solid", "diamond"), "CompressAI"),
    "ablation-lean": Method("lean encoder and decoder", Look("#CC79A7", "longdash", "diamond"), "lean"),
    "ablation-tiny": Method("tiny encoder, lean decoder", Look("#999933", "longdashdot", "star"), "tiny"),
}  # fmt: skip


def curves_of_prior_work(
    points: Sequence[RatePoint], names: Sequence[str], title: str = "One budget of training, one decoder"
) -> go.Figure:
    """Draw agreement over bytes for some keys of :data:`PRIOR`, beside JPEG and AVIF where the table has them."""
    lines = []
    for name in (*names, "JPEG", "AVIF"):
        if rows := [p for p in points if p.codec == name]:
            method = PRIOR.get(name) or Method(name, look_of(name))
            lines.append(rate_curve(method.label, rows, "agreement", method.look, width=3.5 if name == BASE else 2))
    figure = rate_accuracy({"": lines}, title, n=points[0].n, height=620)
    return figure.update_xaxes(range=[2.5, 4]).update_yaxes(range=[0, 100])


def deltas_of_prior_work(deltas: Sequence[BDRate], names: Sequence[str]) -> go.Figure:
    """Draw BD-rates of some keys of :data:`PRIOR` against the base."""
    found = {d.codec: d for d in deltas if d.against == BASE}
    rows = {PRIOR[name].label: ([found[name]], PRIOR[name].look) for name in names if name in found}
    figure = forest(rows, "Bytes against FrankenSplit's base", "BD-rates against the base")
    figure.update_xaxes(range=[-30, 180], title_text=f"{MORE_OR_FEWER}<br>beyond 180 the number stands alone")
    return figure.update_traces(cliponaxis=True)


LEARNED = {  # label to a curve of ``learned_codecs.csv``, and the one that it is compared with
    "features: side information": ("prior-hyperprior", BASE),
    "the same, if it were free": (f"prior-hyperprior, {LATENT_ALONE}", BASE),
    "pixels: side information": ("prior-pixels-hyperprior", "prior-pixels"),
    "the same for pixels, if it were free": (f"prior-pixels-hyperprior, {LATENT_ALONE}", "prior-pixels"),
    "pixels: CompressAI's networks": ("prior-compressai", "prior-pixels"),
    "pixels instead of features": ("prior-pixels", BASE),
}


def deltas_of_learned_codecs(deltas: Sequence[BDRate]) -> go.Figure:
    """Draw what side information, pixels, and larger networks cost, each against the codec that lacks only them."""
    found = {(d.codec, d.against): d for d in deltas}
    rows = {label: ([found[pair]], PRIOR[pair[0].partition(",")[0]].look) for label, pair in LEARNED.items()}
    return forest(rows, "Bytes more or fewer at equal agreement", "BD-rates of learned codecs")


class WorkPanel(Panel):
    """Ask for an agreement (%), and see what each encoder sends for it and what it computes.

    The points are those of ``prior_work.csv``, the work that of ``work.csv``, the names keys of :data:`PRIOR`.
    """

    def __init__(self, points: Sequence[RatePoint], work: Sequence[WorkRow], agreement: int, names: Sequence[str]):
        self._curves = {name: [p for p in points if p.codec == name] for name in names}
        self._work = {row.name: row for row in work if row.part == "encoder" and row.precision == "float32"}
        figure = go.Figure()
        for name in names:
            method = PRIOR[name]
            mark = {"size": 15, "color": method.look.color, "symbol": method.look.symbol}
            figure.add_scatter(
                name=name, mode="markers+text", marker=mark, text=[method.label], textposition="bottom center" if name == BASE else "top center",
                hovertemplate="%{x:,.0f} M multiply-adds<br>%{y:,.0f} bytes<extra></extra>",
            )  # fmt: skip
        works, sizes = [20, 50, 100, 200, 500], [300, 500, 700, 1000, 1500, 2000, 3000, 5000]
        work_axis = {"title_text": "encoder's work (million multiply-adds)", "tickvals": works, "range": [1.15, 3.1]}
        figure.update_xaxes(work_axis, type="log")
        figure.update_yaxes(title_text="bytes of the packet", type="log", tickvals=sizes, range=[2.6, 3.7])
        finish(figure, "Bytes and work at one agreement", "", 520, showlegend=False)
        top = round(100 * max(p.agreement for p in points if p.codec in names))
        super().__init__({"agreement": Number("agreement (%)", 30, top, agreement, 1)}, figure, self._update)
        self.refresh()

    def _update(self, agreement: int) -> str:
        told = []
        with self.figure.batch_update():
            for name, curve in self._curves.items():
                size, macs = bytes_at(curve, agreement / 100), self._work[PRIOR[name].encoder].multiply_adds / 1e6
                known = {"x": [macs], "y": [size]} if size else {"x": [], "y": []}
                self.update_trace(name, **known)
                sent = f"{size:,.0f} bytes" if size else "not reached"
                told.append(f"{PRIOR[name].label} {sent} with {macs:,.0f} million multiply-adds")
        return f"At an agreement of {agreement} %: {'; '.join(told)}."
