"""Executed notebooks as a book in HTML that opens offline: Sphinx and MyST-NB with execution off.

    executed notebooks ──► prepared() ──► MyST-NB ──► furo ──► pages, and one index.html made from ChapterRuns

Formulas become MathML, which browsers draw by themselves. Figures stay JSON; `book.js` draws them, and moves those of
panels, with the one copy of plotly's script that lies beside the pages.
"""

import html
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from fsplit_lib.runner.execute import ChapterRun

FIGURE = "application/vnd.plotly.v1+json"
LABELLED = re.compile(r"\$\$((?:(?!\$\$).)*?)\s*\\tag\{(\d+)\}\s*\$\$", re.DOTALL)
CITED = re.compile(r"(?:[Cc]hapter (\d\d), )?Eqs?\. \(\d+\)(?:(?:,| and| or| to) \(\d+\))*")
CHAPTER = re.compile(r"(?<![\[`\w])([Cc]hapter (\d\d))\b")
CONFIG = {
    "project": "FrankenSplit Workbook",
    "extensions": ["myst_nb", "fsplit_lib.runner.site"],
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "nb_render_markdown_format": "myst",  # CommonMark, the default, has no tables
    "nb_code_prompt_show": "Show the code",
    "nb_code_prompt_hide": "Hide the code",
    "myst_enable_extensions": ["dollarmath"],
    "html_theme": "furo",
    "html_title": "FrankenSplit Workbook",
    "html_math_renderer": "mathml",
    "html_css_files": ["book.css"],
    "html_js_files": [("plotly.min.js", {"defer": "defer"}), ("book.js", {"defer": "defer"})],
    "html_show_search_summary": False,  # it would fetch the pages, which file:// does not allow
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_use_index": False,
    "html_theme_options": {"top_of_page_buttons": []},
}


def build_site(runs: list[ChapterRun], site: Path, machine: str) -> Path:
    """Build the book of executed chapters and return its ``index.html``, whose foot names the machine that they ran on.

    What lay in the folder ``site`` gives way once the new book is whole.

    Raises:
        SphinxError: a page cannot be built.
    """
    site = site.resolve()  # Sphinx takes a relative path as one below its own source
    site.parent.mkdir(parents=True, exist_ok=True)
    notebooks = {run.executed.stem: nbformat.read(run.executed, as_version=4) for run in runs}
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=".site") as scratch:
        source, static, pages = (Path(scratch, name) for name in ("source", "static", "pages"))
        source.mkdir()
        shutil.copytree(Path(__file__).with_name("assets"), static)
        labels = {
            f"eq-{stem[:2]}-{number}"
            for stem, notebook in notebooks.items()
            for cell in notebook.cells
            for _, number in LABELLED.findall(cell.source)
        }
        for stem, notebook in notebooks.items():
            nbformat.write(prepared(notebook, stem, list(notebooks), labels), source / f"{stem}.ipynb")
        (source / "index.md").write_text(_index(runs, machine), encoding="utf-8")
        (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        config = CONFIG | {"html_static_path": [str(static)]}
        trees = Path(scratch, "trees")
        with docutils_namespace():  # a second book of the same process registers Sphinx's nodes again
            Sphinx(source, None, pages, trees, "html", config, status=None, warning=sys.stderr, freshenv=True).build()
        shutil.rmtree(site, ignore_errors=True)
        pages.rename(site)
    return site / "index.html"


def prepared(notebook: nbformat.NotebookNode, stem: str, stems: list[str], labels: set[str]) -> nbformat.NotebookNode:
    r"""Make of an executed chapter what MyST-NB reads.

    Equations with a ``\tag{n}`` get a label, references to equations and chapters become links, figures become HTML with
    a number and a caption, and the cell of injected parameters is folded. The notebook itself is changed and returned;
    ``stems`` are those of all files of the book, ``labels`` those of all its equations, such as "eq-05-1".
    """
    number = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, stem, stems, labels)
            continue
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("hide-cell")
        outputs, caption = [], ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if FIGURE in data:
                number += 1
                caption = html.escape(_alt(data[FIGURE]))
                output["data"] = {"text/html": _figure(data[FIGURE], f"{int(stem[:2])}.{number}")}
            elif caption and caption in data.get("text/html", ""):
                caption = ""  # shown below the figure in a notebook; here the figure has it
                continue
            outputs.append(output)
        cell.outputs = outputs
    return notebook


def _linked(text: str, stem: str, stems: list[str], labels: set[str]) -> str:
    def cite(found: re.Match) -> str:
        def link(number: re.Match) -> str:
            label = f"eq-{found[1] or stem[:2]}-{number[1]}"
            return f"{{eq}}`{label}`" if label in labels else number[0]

        return re.sub(r"\((\d+)\)", link, found[0])

    def chapter(found: re.Match) -> str:
        other = next((one for one in stems if one.startswith(found[2]) and one != stem), None)
        return f"[{found[1]}]({other}.ipynb)" if other else found[0]

    text = re.sub(r"(?<=\d) (?=[%×])|(?<=×) (?=\d)", "\u00a0", text)  # a number stays with its sign
    text = LABELLED.sub(lambda found: f"$${found[1]}\n$$ (eq-{stem[:2]}-{found[2]})", text)
    return CHAPTER.sub(chapter, CITED.sub(cite, text))


def _alt(figure: dict[str, Any]) -> str:
    return figure["layout"].get("meta", {}).get("alt", "")


def _figure(figure: dict[str, Any], number: str = "") -> str:
    plain = json.dumps(figure, separators=(",", ":")).replace("</", "<\\/")
    alt, height = html.escape(_alt(figure)), figure["layout"].get("height", 450)
    name = f"figure-{number.replace('.', '-')}"
    body = f'<script type="application/json">{plain}</script>'
    if not number:
        return f'<figure class="plot picture" aria-label="{alt}">{body}</figure>'
    label, said = f'<a href="#{name}">Figure {number}.</a>', f'<span class="said">{alt}</span>'
    if "panel" not in figure:  # of a panel the sentence is a part: it changes with the controls
        label, said = f"<details><summary>{label} In words</summary>", f"{said}</details>"
    return f'<figure class="plot" id="{name}" style="--height:{height}px">{body}<figcaption>{label} {said}</figcaption></figure>'


def _index(runs: list[ChapterRun], machine: str) -> str:
    entries = "\n\n".join(_entry(run) for run in runs)
    names = "\n".join(run.executed.stem for run in runs)
    return (
        f"# FrankenSplit Workbook\n\nNeural feature compression for mobile edge computing: see it, run it, doubt it, "
        f"measure it.\n\n{entries}\n\n<p class=machine>Run on {html.escape(machine)}.</p>\n\n"
        f"```{{toctree}}\n:hidden:\n:titlesonly:\n\n{names}\n```\n"
    )


def _entry(run: ChapterRun) -> str:
    results = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in run.results)
    return (
        f'<article class="chapter"><div>{_picture(run.executed)}</div><div><h2><a href="{run.executed.stem}.html">'
        f"{html.escape(run.title)}</a></h2><p>{html.escape(run.claim)}</p><ul>{results}</ul>"
        f'<p class="took">This run of the chapter took {run.seconds:.0f} s.</p></div></article>'
    )


def _picture(executed: Path) -> str:
    """Draw the figure that the cell tagged ``picture`` shows, else the first one 400 pixels high; "" without any."""
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    cells.sort(key=lambda cell: "picture" not in cell.metadata.get("tags", []))
    figures = [out.data[FIGURE] for cell in cells for out in cell.outputs if FIGURE in out.get("data", {})]
    figure = next((one for one in figures if one["layout"].get("height", 0) >= 400), None)
    return _figure({"data": figure["data"], "layout": figure["layout"]}) if figure else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw formulas as MathML: what Sphinx calls of an extension."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(page: Any, node: nodes.math) -> None:
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _display(page: Any, node: nodes.math_block) -> None:
    page.body.append('<div class="math">')  # MyST has set the label's anchor around it
    if node["number"]:
        page.body.append(f'<span class="eqno">({node["number"]})')
        page.add_permalink_ref(node, "Link to this equation")
        page.body.append("</span>")
    page.body.append(convert(node.astext(), display="block") + "</div>\n")
    raise nodes.SkipNode
