"""What travels instead of pixels: latent and features as pictures, and where the bits go."""

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from PIL import Image

from fsplit_lib.plots.ch00.tools import side_by_side

__all__ = ["bits_map", "journey", "paint_map", "shape_text", "tile_channels"]


def journey(crop: Image.Image, y_hat: np.ndarray, h_hat: np.ndarray, h: np.ndarray) -> go.Figure:
    """Photo, latent, decoded features and the teacher's, as mosaics of channels.

    Args:
        crop: the photo.
        y_hat: (C, h, w) quantised latent.
        h_hat: (C_h, h, w) decoded features.
        h: (C_h, h, w) the teacher's.
    """
    scale = (h.mean(axis=(1, 2), keepdims=True), h.std(axis=(1, 2), keepdims=True) + 1e-6)
    limit = float(np.quantile(np.abs(y_hat), 0.995)) or 1.0
    near = [np.clip(((one - scale[0]) / scale[1] + 2) / 4, 0, 1) for one in (h_hat, h)]
    pictures = {
        f"the photo<br>{crop.width} × {crop.height} × 3": crop,
        f"ŷ: on the wire<br>{shape_text(y_hat)}": tile_channels(np.clip(y_hat / limit / 2 + 0.5, 0, 1), "RdBu"),
        f"ĥ: decoded features<br>{shape_text(h_hat)}": tile_channels(near[0], "Cividis"),
        f"h: the teacher's features<br>{shape_text(h)}": tile_channels(near[1], "Cividis"),
    }
    alike = float(np.corrcoef(h_hat.ravel(), h.ravel())[0, 1])
    zeros = float((np.abs(y_hat - np.median(y_hat, axis=(1, 2), keepdims=True)) < 1e-4).mean())
    alt = (
        f"From left to right: the photo; the {len(y_hat)} channels of the quantised latent, {zeros:.0%} of whose "
        f"values equal their channel's median; the {len(h)} maps that the server decodes from it; and the {len(h)} "
        f"maps that the whole network computes from the photo. Decoded and true maps correlate with {alike:.2f}."
    )
    return side_by_side(pictures, "What travels, and what the server makes of it", alt, height=360)


def bits_map(crop: Image.Image, bits: np.ndarray) -> go.Figure:
    """Where the bits go.

    Args:
        crop: the photo.
        bits: (h, w) bits spent on each position of the latent.
    """
    top = float(np.quantile(bits, 0.99))
    heat = paint_map(np.clip(bits / max(top, 1e-9), 0, 1), "Cividis").resize(crop.size, Image.Resampling.NEAREST)
    overlay = Image.blend(crop.convert("L").convert("RGB"), heat, 0.6)
    dearest = np.sort(bits.ravel())[::-1]
    half = int(np.searchsorted(np.cumsum(dearest), dearest.sum() / 2)) + 1
    alt = (
        f"Bits for each of the {bits.shape[0]} × {bits.shape[1]} positions, from {bits.min():.1f} (dark) to "
        f"{bits.max():.1f} (bright), {bits.mean():.1f} on average; half of all bits go to {half / bits.size:.0%} "
        "of the positions."
    )
    pictures = {"the photo": crop, "bits a position": heat, "both": overlay}
    return side_by_side(pictures, "Where the bits go", alt, height=390)


def tile_channels(values: np.ndarray, scale: str) -> Image.Image:
    """Channels (C, H, W) side by side as one picture, in a colour scale."""
    channels, height, width = values.shape
    columns = 8 if channels % 8 == 0 else int(np.ceil(np.sqrt(channels)))
    rows = -(-channels // columns)
    canvas = Image.new("RGB", (columns * (width + 1) - 1, rows * (height + 1) - 1), "white")
    for n, channel in enumerate(values):
        canvas.paste(paint_map(channel, scale), ((n % columns) * (width + 1), (n // columns) * (height + 1)))
    return canvas


def paint_map(values: np.ndarray, scale: str) -> Image.Image:
    """A map (H, W) in [0, 1] as a picture, in one of plotly's colour scales."""
    stops = plotly.colors.get_colorscale(scale)
    at = [stop for stop, _ in stops]
    rgb = np.array([_rgb(colour) for _, colour in stops])
    painted = np.stack([np.interp(values, at, rgb[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(painted.astype(np.uint8))


def _rgb(colour: str) -> tuple[float, ...]:
    return plotly.colors.hex_to_rgb(colour) if colour.startswith("#") else plotly.colors.unlabel_rgb(colour)


def shape_text(values: np.ndarray) -> str:
    """The sides of an array, as people write them."""
    return " × ".join(str(side) for side in values.shape)
