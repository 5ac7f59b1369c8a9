"""Maps over a photo, and the map of a network whose axes were taken for others."""

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor

from fsplit_lib.plots.pictures import paint_map, picture, side_by_side
from fsplit_lib.plots.style import finish
from fsplit_lib.saliency import concentration

__all__ = ["NAMES", "explained", "map_grid", "overlay", "swin_axes"]

NAMES = {
    "gradcam": "Grad-CAM",
    "xgradcam": "XGradCAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "edges": "edge detector",
}


def overlay(crop: Image.Image, values: np.ndarray) -> Image.Image:
    """A map (H, W) in [0, 1] laid over the grey photo: dark is 0, bright 1."""
    heat = paint_map(np.clip(values, 0, 1), "Cividis").resize(crop.size, Image.Resampling.BILINEAR)
    return Image.blend(crop.convert("L").convert("RGB"), heat, 0.65)


def map_grid(crop: Image.Image, maps: dict[str, dict[str, np.ndarray]]) -> go.Figure:
    """Methods in rows, layers in columns, each map over the photo.

    Args:
        crop: the photo.
        maps: method to layer to (H, W) in [0, 1].
    """
    layers = list(next(iter(maps.values())))
    figure = make_subplots(
        len(maps), 1 + len(layers), column_titles=["the photo", *layers], horizontal_spacing=0.012,
        row_titles=[NAMES[m] for m in maps], vertical_spacing=0.015,
    )  # fmt: skip
    for row, found in enumerate(maps.values(), start=1):
        for column, image in enumerate([crop, *(overlay(crop, one) for one in found.values())], start=1):
            figure.add_trace(go.Image(source=picture(image), hoverinfo="skip"), row, column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=15)
    told = [f"{NAMES[m]} {concentration(list(found.values())[-1]):.0%}" for m, found in maps.items()]
    alt = (
        f"{len(maps)} methods by {len(layers)} choices of layers over one photo, dark 0 and bright 1. Half of the "
        f"map ({layers[-1]}) lies on this share of the places: {', '.join(told)}."
    )
    finish(figure, "Where does the score come from?", alt, 110 + 185 * len(maps))
    return figure.update_layout(margin={"l": 10, "r": 40, "t": 105, "b": 10})


def explained(crop: Image.Image, values: np.ndarray) -> go.Figure:
    """The panel's two pictures: the photo and one map over it."""
    pictures = {"the photo": crop, "the map: dark 0, bright 1": overlay(crop, values)}
    return side_by_side(pictures, "One map", "One photo and 1 map of it.", 430)


def swin_axes(x: Tensor, right: np.ndarray, wrong: np.ndarray) -> go.Figure:
    """A picture with one busy corner, its map with the axes turned, and without.

    Args:
        x: (1, 3, H, W), busy in the upper right quarter alone.
        right: (h, w).
        wrong: (w, C).
    """
    image = Image.fromarray((255 * x[0].permute(1, 2, 0).numpy()).round().astype(np.uint8))
    titles = ["the picture", *(f"{name}: {v.shape[0]} × {v.shape[1]}" for name, v in
                               (("with reshape", right), ("without", wrong)))]  # fmt: skip
    painted = [
        paint_map((v - v.min()) / (np.ptp(v) + 1e-9), "Cividis").resize(image.size, Image.Resampling.NEAREST)
        for v in (right, wrong)
    ]
    corners = [_corner(v) for v in (right, wrong)]
    alt = (
        f"The picture is busy in its upper right quarter. Of the map's unrest, {corners[0]:.0%} lies there with the "
        f"reshape and {corners[1]:.0%} without, where the sides of the map are {wrong.shape[0]} columns of the picture "
        f"and {wrong.shape[1]} channels."
    )
    pictures = dict(zip(titles, [image, *painted], strict=True))
    return side_by_side(pictures, "An untrained Swin, Grad-CAM at stride 8", alt, 400)


def _corner(values: np.ndarray) -> float:
    unrest = (values - np.median(values)) ** 2
    return float(unrest[: len(values) // 2, values.shape[1] // 2 :].sum() / unrest.sum())
