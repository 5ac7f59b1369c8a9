"""Exercises of chapter 08: a layer in 8 bits, a timing harness, the crossover in closed form, five on times and rates."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fsplit_lib.exercises.core import Exercise, Fault, choice, function, inputs, near, number, shaped

OURS, JPEG = (12.0, 1_500, 20.0), (3.0, 4_500, 12.0)  # ms on the device, bytes, ms at the server
CROSSING = 8 * (JPEG[1] - OURS[1]) / (OURS[0] + OURS[2] - JPEG[0] - JPEG[2]) / 1e3


def _total(
    device: float, size: float, server: float, rate: float, delay: float, slowdown: float, speedup: float
) -> float:
    """Compute the milliseconds of an answer at a link of ``rate`` Mbit/s."""
    return device * slowdown + 8e-3 * size / rate + 2 * delay + server / speedup


RANGE = "min(x.min(), 0), max(x.max(), 0)"  # of int8_layer
LAYER = shaped(lambda x, w, _: (len(x), len(w)), "The result is of shape (N, O), here {wanted}; yours is {got}.")
CASES = np.array([[12, 1500, 20, 1, 10, 1, 1], [3, 4500, 12, 0.25, 0, 8, 4], [5, 90_000, 40, 50, 35, 0.5, 20]])
MEETING = np.array([[32, 1500, 15, 4500], [5, 9000, 60, 700]])  # where there is a rate


def int8_layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Compute x (N, C) · weight (O, C)ᵀ + bias (O,) in 8 bits for x, and in 7 with a scale for each row of the weight.

    >>> int8_layer(np.array([[0.0, 255.0]]), np.array([[64.0, 32.0]]), np.array([1.0]))  # 255 · 32 + 1
    array([[8161.]])
    """
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    whole = np.clip(np.round(x / step) + zero, 0, 255)
    scale = np.abs(weight).max(axis=1) / 64
    weights = np.round(weight / scale[:, None])
    return (whole - zero) @ weights.T * step * scale + bias


def onnxruntime_layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Have onnxruntime quantise the same layer, 7-bit weights by channel and activations as they come, and run it."""
    import onnxruntime
    from onnx import numpy_helper, parser
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    graph = "layer (float[N, {1}] x) => (float[N, {0}] y) {{ y = MatMul(x, w) }}".format(*weight.shape)
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {graph}')
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight.T, dtype=np.float32), "w"))
    add_pre_process_metadata(model)  # or it advises a step that one layer does not need
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.onnx"
        quantize_dynamic(model, file, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        made = file.read_bytes()
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.asarray(x, dtype=np.float32)})[0] + bias


def _layer_cases() -> list[tuple]:
    """Draw layers: activations of both signs, from 0 on, above 0 and below, and many at a least value between two steps."""
    rng, cases = inputs(87), []
    between = -3.0 * 60.7 / (255 - 60.7)  # -60.7 steps of the range from here to 3
    for low, high, least in ((-1, 3, -1), (0, 3, 0), (0.5, 3, 0.5), (-3, -0.5, -3), (-2, 4, between)):
        x = rng.uniform(low, high, (12, 24)).clip(least, 3.0)
        weight = rng.standard_normal((5, 24)) * rng.uniform(0.1, 3, (5, 1))
        cases.append(tuple(v.astype(np.float32) for v in (x, weight, rng.standard_normal(5))))
    return cases


def _mostly(got: np.ndarray, expected: np.ndarray) -> bool:
    return np.isclose(got, expected, 1e-4, 1e-4).all(axis=1).mean() > 0.8


def timing(call: Callable[[], Any], warmup: int, runs: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Time a call by a clock of seconds; return median and distance of the quartiles of its runs, in milliseconds.

    >>> clock = iter([0.0, 9.0, 0.0, 0.001, 0.0, 0.002, 0.0, 0.003])
    >>> [round(ms, 6) for ms in timing(lambda: None, 1, 3, lambda: next(clock))]
    [2.0, 1.0]
    """
    took = []
    for _ in range(warmup + runs):
        begun = clock()
        call()
        took.append(1e3 * (clock() - begun))
    kept = np.array(took[warmup:])
    low, middle, high = np.quantile(kept, [0.25, 0.5, 0.75])
    return float(middle), float(high - low)


OTHER_CLOCK = "You read another clock; call the clock that was passed."


def _try_timing(answer: Callable, warmup: int, runs: int, seconds: list[float]) -> tuple:
    """Return what is told of a call that takes these seconds in turn, by a clock of its own, and how often it was called."""
    now, calls, reads = [100.0], [], []

    def call() -> None:
        calls.append(1)
        now[0] += seconds[(len(calls) - 1) % len(seconds)]

    told = answer(call, warmup, runs, lambda: reads.append(1) or now[0])
    return Fault(OTHER_CLOCK) if calls and not reads else (*told, len(calls))


def _timing_cases() -> list[tuple]:
    rng, cases = inputs(86), []
    for warmup, runs in ((3, 9), (2, 20), (0, 6)):
        seconds = rng.uniform(0.004, 0.009, warmup + runs)
        seconds[:warmup] *= 20  # cold
        seconds[-1] = 0.5  # disturbed
        cases.append((warmup, runs, seconds.tolist()))
    return cases


def _form_of_timing(result: Any, *_: Any) -> str | None:
    if len(result) != 3:
        return "Return two numbers: the median and the distance of the quartiles."
    for one in result[:2]:
        float(one)
    return None if result[2] else "Your function never ran the call."


def crossover(ours_ms: float, ours_bytes: float, other_ms: float, other_bytes: float) -> float | None:
    """Compute the rate in Mbit/s at which two ways take equally long, or None where none does: Eq. (4) with S = 1.

    >>> crossover(20.0, 1000.0, 10.0, 11_000.0)  # 80,000 bits in 10 ms
    8.0
    """
    milliseconds, bits = ours_ms - other_ms, 8 * (other_bytes - ours_bytes)
    return bits / milliseconds / 1e3 if bits * milliseconds > 0 else None


def _try_crossover(answer: Callable, *case: float) -> Any:
    try:
        return answer(*case)
    except ZeroDivisionError:  # on a case where there is no rate; the exercise says so in its own words
        return np.inf


def _form_of_crossover(result: Any, *case: float) -> str | None:
    if result is None:
        told = "Where one way has more bytes and the other more milliseconds there is a rate: return it."
        return told if crossover(*case) is not None else None
    float(result)
    return None


EXERCISES: tuple[Exercise, ...] = (
    function("08.1", onnxruntime_layer, _layer_cases, base=int8_layer, same=_mostly, form=LAYER)(
        "Activations: step = (high − low) / 255 with 0 inside the range, zero = round(−low / step), whole = round(x / step) + zero. Weights: scale of a row = largest magnitude / 64. The product of integers, times step, times scale, plus the bias.",
        "Your layer and onnxruntime's give the same numbers: 8-bit inference is a product of integers, multiplied by two scales.",
        ("/ 64", "/ 127"),
        "Your weights use all 8 bits, up to 127: two products of 127 · 255 no longer fit into 16 bits. Take 64.",
        ("/ 64", "/ 63"),
        "In 7 bits onnxruntime lets the largest weight be 64, not 63.",
        ("max(axis=1)", "max(keepdims=True)[0]"),
        "You have one scale for all weights; every output, a row of the weight, has its own.",
        ("np.round", "np.floor"),
        "You round down; round to the nearest.",
        ("(whole - zero) @ weights.T * step", "x @ weights.T"),
        "Only the weights are quantised; the activations have to be integers from 0 to 255 too.",
        ("(whole - zero)", "whole"),
        "Subtract the zero point from the integer activations before you multiply.",
        (RANGE, "x.min(), x.max()"),
        "Your range is that of x alone; stretch it until it includes 0.",
        (RANGE, "np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)"),
        "You have a range for each row of x; all activations share one.",
        ("np.round(-low / step)", "-low / step"),
        "Your zero point is not an integer; round it.",
        ("np.round(weight / scale[:, None])", "weight / scale[:, None]"),
        "Only the activations are quantised; round the weights to integers too.",
        (" * step * scale", ""),
        "That is the sum of integers; multiply it by both scales.",
        ("(whole - zero)", "(whole.astype(np.uint8) - np.uint8(zero))"),
        "Your integers overflow: subtract the zero point in a wider type.",
        (" + bias", ""),
        "The bias is missing.",
        lambda x, w, b: x @ w.T + b,
        "That is the layer in float32: nothing is quantised.",
    ),
    function("08.2", timing, _timing_cases, form=_form_of_timing, use=_try_timing)(
        "Call warmup times without keeping the time. Then, for each run, read the clock, call, read the clock again. np.quantile(took, [0.25, 0.5, 0.75]), in milliseconds.",
        "Cold runs are left out, and median and quartiles do not depend on how long one disturbed run took.",
        ("took[warmup:]", "took"),
        "You kept the warm-up; the first runs are cold, so call without keeping their time.",
        ("float(middle)", "kept.mean()"),
        "That is the mean; one disturbed run moves it. Take the median.",
        ("1e3 * ", ""),
        "Those are seconds; the chapter has milliseconds.",
        ("float(middle), float(high - low)", "kept.mean(), kept.std()"),
        "Those are mean and standard deviation; one disturbed run moves both. Take the median and the quartiles.",
        ("float(high - low)", "kept.std()"),
        "The spread is q75 − q25, the distance of the quartiles; yours is the standard deviation.",
        ("float(high - low)", "(high - low) / middle"),
        "That is the ratio of Eq. (1); asked is the interquartile range in milliseconds.",
        ("float(middle), float(high - low)", "float(high - low), float(middle)"),
        "The median comes first.",
        ("float(high - low)", "np.ptp(kept)"),
        "The spread is q75 − q25; yours is the largest run minus the smallest.",
        ("warmup + runs", "runs", "took[warmup:]", "took"),
        "Nothing was warmed up: call warmup times before you keep a time.",
    ),
    function(
        "08.3",
        crossover,
        lambda: (MEETING * inputs(88).uniform(0.8, 1.2, MEETING.shape)).tolist(),
        same=lambda got, expected: got is expected if None in (got, expected) else near()(got, expected),
        form=_form_of_crossover,
        use=_try_crossover,
        edges=(
            (32.0, 1500.0, 15.0, 1500.0),
            "Where both send equally many bytes, the formula gives a rate of 0, and no link has it: return None.",
            (32.0, 4500.0, 15.0, 1500.0),
            "Where one way has more bytes and more milliseconds, no rate makes them equal: return None.",
            (15.0, 1500.0, 32.0, 4500.0),
            "Where one way has fewer bytes and fewer milliseconds, it is faster on every link: return None.",
            (15.0, 1500.0, 15.0, 4500.0),
            "Where both take equally many milliseconds, the one of fewer bytes is faster on every link: return None instead of dividing by 0.",
        ),
    )(
        "Set both times equal: ours_ms + 8 · ours_bytes / r = other_ms + 8 · other_bytes / r, with r in bits per millisecond. When is the r that comes out no rate?",
        "Below this rate the way with fewer bytes is faster, above it the one that computes less.",
        lambda a, b, c, d: (d - b) / (a - c) / 1e3,
        "A byte has eight bits.",
        lambda a, b, c, d: 8 * (d - b) / (a - c),
        "Bits per millisecond are kbit/s; divide by 1,000.",
        lambda a, b, c, d: 8 * (d - b) / (c - a) / 1e3,
        "The sign is wrong. Is it other minus ours in the numerator, and ours minus other in the denominator?",
        lambda a, b, c, d: (a - c) / (8 * (d - b)) / 1e3,
        "That is turned around: bits over milliseconds, not milliseconds over bits.",
    ),
    number("08.4", CROSSING)(
        "Eq. (4) with S = 1: 8 times the bytes saved, over the milliseconds that the packet costs more elsewhere. Bits per millisecond are kbit/s.",
        "1.41 Mbit/s: below it, the 3,000 bytes saved take longer than the 17 ms that the packet costs elsewhere.",
        (CROSSING / 8, "A byte has eight bits."),
        (24 / 9, "The server's time counts as well: it has a decoder to run, 8 ms more than the JPEG's."),
        (12 / 17, "Only the difference in bytes counts: 3,000."),
        (CROSSING * 1e3, "Bits per millisecond are kbit/s; divide by 1,000 for Mbit/s."),
        (CROSSING * 1e6, "Right, in bits a second; the question asks for Mbit/s."),
        (24 / 32, "The JPEG takes time on device and server too: only the difference counts."),
    ),
    number("08.5", 3.0)(
        "Let the rate go to zero: what is left of the two times? Then to infinity.",
        "Three times, the ratio of the bytes: the slower the link, the closer the ratio of the times comes to it.",
        (15 / 32, "That is the other end, an endlessly fast link: there the packet is slower."),
        (5350 / 2350, "You added the 850 bytes of headers; this exercise leaves them out."),
        (16.0, "That is the paper's claim; with these bytes it cannot be reached."),
        ((15 + 36) / (32 + 12), "That is the ratio at 1 Mbit/s; slower links give more."),
        (1 / 3, "The question is how many times as long the JPEG takes: turn it around."),
    ),
    number("08.6", 10.0)(
        "On an endlessly fast link without delay: 10 + 20 / s < 12. Solve for s.",
        "More than ten times: our encoder takes nearly as long as the whole network, so the server's part has to fit into 2 ms.",
        (20 / 12, "The encoder's 10 ms come first; the server has only 2 ms left."),
        (2.0, "Those are the milliseconds that are left; how much faster must 20 ms become to fit into them?"),
        (1.2, "That compares the encoder with the network; the server's work comes on top."),
    ),
    choice("08.7", "c")(
        "What could make the quartiles lie so far apart, and would it affect both methods alike?",
        "First look for the cause. Timing in turns makes a disturbance affect both alike. A spread that stays large supports no conclusion.",
        a="More digits make the difference no more certain: half of the runs lie outside those quartiles.",
        b="The minimum tells what the machine can do undisturbed, which may be worth knowing, but not what users will wait.",
        d="A few disturbed runs move a mean, and in more runs there are more disturbed ones.",
    ),
    function("08.8", _total, lambda: (CASES * inputs(8).uniform(0.8, 1.25, CASES.shape)).tolist())(
        "Device times slowdown, plus 8 · bytes / (1000 · rate), plus the delay twice, plus server over speed-up.",
        "These four terms are the whole model of the chapter.",
        ("8e-3 *", "1e-3 *"),
        "A byte has eight bits.",
        ("2 * delay", "delay"),
        "The answer has to come back: the delay is paid twice.",
        ("8e-3 *", "8 *"),
        "Mbit/s times milliseconds: 8 · bytes / (1000 · rate) gives milliseconds.",
        ("/ speedup", "* speedup"),
        "A server that is faster takes less: divide by its speed-up.",
        ("* slowdown", "/ slowdown"),
        "A slower device takes longer: multiply by its slowdown.",
    ),
)
