"""The arms of the saliency experiment: at equal lambda, as whole curves, as BD-rates, and in words."""

import html

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import Arms, Contrast
from fsplit_lib.plots.style import Look, finish

__all__ = ["arm_curves", "arm_deltas", "equal_lambda", "outcome", "told"]

LOOKS = {
    "unguided": Look("#000000", "dot", "x"),
    "guided": Look("#D55E00", "solid", "circle"),
    "constant": Look("#0072B2", "dash", "square"),
    "shuffled": Look("#009E73", "dashdot", "diamond"),
}
PAIRS = (("guided", "unguided"), ("guided", "constant"), ("guided", "shuffled"), ("constant", "unguided"))
CLAIM = -25.0  # percent: what the paper reports of guided against unguided training


def equal_lambda(arms: Arms) -> go.Figure:
    """The comparison that misleads: bytes and kept decisions against the unguided arm at equal lambda."""
    names = [name for name in LOOKS if name != "unguided"]
    found = np.array([arms.at_equal_lmbda(name) for name in names])
    figure = make_subplots(
        1, 2, subplot_titles=("bytes (%)", "kept decisions (percentage points)"), horizontal_spacing=0.12
    )
    for column, values in enumerate(found.T, start=1):
        figure.add_trace(
            go.Bar(
                x=names, y=values, text=[_signed(v) for v in values], textposition="outside", cliponaxis=False,
                marker={"color": [LOOKS[n].color for n in names], "pattern": {"shape": ["", "/", "x"]}},
            ),
            1, column,
        )  # fmt: skip
        margin = 0.25 * max(np.ptp([*values, 0.0]), 1.0)
        figure.update_yaxes(range=[min(0, values.min()) - margin, max(0, values.max()) + margin], col=column)
    figure.add_hline(y=0, line={"color": "#8b949e"})
    told = "; ".join(f"{n}: {_signed(b)} % bytes, {_signed(k)} points" for n, (b, k) in zip(names, found, strict=True))
    alt = f"Against the unguided arm at equal lambda, mean over lambdas and seeds: {told}."
    return finish(figure, "The comparison that misleads: equal lambda", alt, 400).update_layout(showlegend=False)


def arm_curves(arms: Arms) -> go.Figure:
    """Kept decisions over bytes: one thin line a seed, the second seed's markers open, Wilson's intervals."""
    figure, told = go.Figure(), []
    for (arm, seed), points in sorted(
        arms.curves.items(), key=lambda item: (list(LOOKS).index(item[0][0]), item[0][1])
    ):
        look, first = LOOKS[arm], seed == arms.seeds(arm)[0]
        kept, low, high = (100 * np.array([getattr(p, "kept" + end) for p in points]) for end in ("", "_low", "_high"))
        figure.add_trace(
            go.Scatter(
                x=[p.bytes for p in points], y=kept, name=f"{arm}, seed {seed}", mode="lines+markers",
                line={"color": look.color, "dash": look.dash, "width": 1.5},
                marker={"symbol": look.symbol if first else f"{look.symbol}-open", "size": 8},
                error_y={"array": high - kept, "arrayminus": kept - low, "thickness": 0.6, "width": 2},
                text=[p.setting for p in points], hovertemplate="%{text}<br>%{x:,.0f} bytes<br>%{y:.1f} %",
            )
        )  # fmt: skip
        told.append(
            f"{arm} {seed} from {kept[-1]:.0f} % at {points[-1].bytes:,.0f} to {kept[0]:.0f} % at {points[0].bytes:,.0f}"
        )
    figure.update_xaxes(
        title_text="mean bytes of the whole packet", type="log", tickvals=[400, 600, 800, 1000, 1500, 2000, 3000, 4000]
    )
    figure.update_yaxes(title_text="decisions of the teacher kept (%)")
    n = next(iter(arms.curves.values()))[0].n
    alt = f"Kept decisions over bytes on {n} photos, by arm and seed: {'; '.join(told)}."
    return finish(figure, f"Four arms on {n} photos", alt, 560).update_layout(legend={"x": 1.01, "y": 1})


def arm_deltas(arms: Arms) -> go.Figure:
    """BD-rates of the arms, one marker a pair of seeds with its interval, and their mean; seeds against seeds below."""
    rows = [(f"{a} against {b}", arms.contrast(a, b)) for a, b in PAIRS]
    rows += [(f"{a}, seed against seed", arms.contrast(a, a)) for a in LOOKS if len(arms.seeds(a)) > 1]
    figure, told = go.Figure(), []
    for place, (name, found) in enumerate(rows):
        look = LOOKS[found.against if found.arm == "guided" and found.against != "guided" else found.arm]
        count = len(found.deltas)
        at = -place + (np.linspace(0.25, -0.25, count) if count > 1 else np.zeros(1))
        values = np.array([d.percent for d in found.deltas])
        low, high = (np.array([v if e is None else e for e, v in zip(ends, values, strict=True)], float)
                     for ends in ([d.low for d in found.deltas], [d.high for d in found.deltas]))  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=values, y=at, mode="markers", marker={"color": look.color, "symbol": look.symbol, "size": 8},
                error_x={"array": high - values, "arrayminus": values - low, "thickness": 1, "width": 4},
                text=[f"{d.method} against {d.against}" for d in found.deltas],
                hovertemplate="%{text}: %{x:.1f} %<extra></extra>",
            )
        )  # fmt: skip
        figure.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=-place, text=f"{_signed(found.percent)} %", showarrow=False
        )
        told.append(f"{name} {_numbers(found)}")
    figure.add_vline(x=0, line={"color": "#8b949e", "dash": "dot"})
    figure.update_xaxes(title_text="bytes more (+) or less (−) for the same kept decisions (%)")
    figure.update_yaxes(tickvals=[-i for i in range(len(rows))], ticktext=[name for name, _ in rows], showgrid=False)
    alt = f"BD-rates, a marker a pair of seeds, whiskers 95 % over photos, on the right their mean: {'; '.join(told)}."
    finish(figure, "The same quality, how many bytes?", alt, 150 + 52 * len(rows))
    return figure.update_layout(showlegend=False, margin={"r": 85})


def _numbers(found: Contrast) -> str:
    values, (low, high) = [d.percent for d in found.deltas], found.reach
    pairs = f"pairs {_signed(min(values))} to {_signed(max(values))}, intervals" if len(values) > 1 else "interval"
    return f"{_signed(found.percent)} % ({pairs} {_signed(low)} to {_signed(high)})"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # never -0.0


def outcome(arms: Arms) -> list[str]:
    """What the tables say, sentence by sentence; nothing here is known before they are read."""
    found = {pair: arms.contrast(*pair) for pair in PAIRS}
    told = [f"{a} against {b}: {_numbers(c)}. {_judged(c)}" for (a, b), c in found.items()]
    apart = [abs(arms.contrast(a, a).percent) for a in LOOKS if len(arms.seeds(a)) > 1]
    told.append(
        f"two seeds of one arm: up to {max(apart):.1f} % apart." if apart else "one seed an arm: no spread is known."
    )
    (low, high), same = found["guided", "unguided"].reach, arms.at_equal_lmbda("guided")[0]
    told.append(
        f"the paper's 25 % fewer bytes lie {'within' if low <= CLAIM <= high else 'outside'} the intervals of guided "
        f"against unguided; at equal lambda our guided arm writes {abs(same):.0f} % {'fewer' if same < 0 else 'more'}."
    )
    place, own = found["guided", "constant"].verdict, found["guided", "shuffled"].verdict
    if place == own == "fewer":
        verdict = "where the weight lies helps, and it has to be the photo's own map."
    elif place == "fewer":
        verdict = "a weight that varies from place to place helps, but another photo's map is not shown to be worse."
    elif place == "more":
        verdict = "the maps cost bytes: the same weight spread evenly does better."
    else:
        verdict = "that the places of the maps buy anything beyond an even weight is not shown here."
    return [*told, f"so {verdict}"]


def told(arms: Arms) -> HTML:
    """The sentences of :func:`outcome` as a list."""
    items = "".join(f"<li>{html.escape(text[0].upper() + text[1:])}</li>" for text in outcome(arms))
    return HTML(f'<ul style="font-size:16px;line-height:1.45;max-width:60em">{items}</ul>')


def _judged(found: Contrast) -> str:
    if found.verdict != "open":
        return f"It needs {found.verdict} bytes, for every pair of seeds and with every interval."
    values = [d.percent for d in found.deltas]
    if max(values) < 0 or min(values) > 0:
        return (
            f"Every pair of seeds leans to {'fewer' if max(values) < 0 else 'more'} bytes, but not every interval does."
        )
    return "These photos and seeds cannot tell them apart."
