"""A chapter's picture in the table of contents: a figure of its own, which the page draws small.

Plotly's script lies beside the page once, so this needs no network, no browser while the book is built and no
picture files that could grow old: what the contents show is what the last run drew.
"""

import html
import json
from pathlib import Path

import nbformat

from fsplit_lib.data.files import write_atomically

__all__ = ["SCRIPT", "STYLE", "chapter_picture", "write_script"]

FIGURE = "application/vnd.plotly.v1+json"
WIDTH, HEIGHT, SCALE = 960, 540, 1 / 3
STYLE = f"""<style>
article {{ display: flex; gap: 1.5rem; align-items: flex-start; flex-wrap: wrap; }}
article > div:last-child {{ flex: 1 1 24rem; }}
.picture {{ width: {WIDTH * SCALE:.0f}px; height: {HEIGHT * SCALE:.0f}px; overflow: hidden; border: 1px solid #d0d7de; }}
.picture > div {{ width: {WIDTH}px; height: {HEIGHT}px; transform: scale({SCALE:.4f}); transform-origin: top left; }}
</style>"""
SCRIPT = f"""<script src="plotly.min.js"></script>
<script>
for (const box of document.querySelectorAll(".picture > div")) {{
  const figure = JSON.parse(box.nextElementSibling.textContent);
  const layout = {{...figure.layout, width: {WIDTH}, height: {HEIGHT}}};
  Plotly.newPlot(box, figure.data, layout, {{staticPlot: true}});
}}
</script>"""


def chapter_picture(executed: Path) -> str:
    """HTML of the figure that the cell tagged ``picture`` shows, else of the first one 400 pixels high; "" without any.

    Args:
        executed: a notebook that has run.
    """
    if not executed.is_file():
        return ""
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    cells.sort(key=lambda cell: "picture" not in cell.metadata.get("tags", []))
    figures = [out.data[FIGURE] for cell in cells for out in cell.outputs if FIGURE in out.get("data", {})]
    figure = next((one for one in figures if one["layout"].get("height", 0) >= 400), None)
    if figure is None:
        return ""
    alt = html.escape(figure["layout"].get("meta", {}).get("alt", ""), quote=True)
    drawn = json.dumps({"data": figure["data"], "layout": figure["layout"]}).replace("</", "<\\/")
    return (
        f'<div class="picture" role="img" aria-label="{alt}"><div></div>'
        f'<script type="application/json">{drawn}</script></div>'
    )


def write_script(site: Path) -> None:
    """Put plotly's own script beside the pages."""
    from plotly.offline import get_plotlyjs

    write_atomically(site / "plotly.min.js", get_plotlyjs().encode())
