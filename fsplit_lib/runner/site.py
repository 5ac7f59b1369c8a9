"""Executed notebooks as an HTML site that opens offline: no script, font or formula from the network."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from fsplit_lib.data.files import write_atomically
from fsplit_lib.runner.execute import ChapterRun
from fsplit_lib.runner.pictures import SCRIPT, STYLE, chapter_picture, write_script

__all__ = ["write_chapter", "write_index"]

REMOTE_SCRIPT = re.compile(r'<script[^>]*\ssrc="https?://[^"]*"[^>]*>\s*</script>')
WIDGET = "application/vnd.jupyter.widget-view+json"
BOX = '<p style="border:1px dashed #8b949e;padding:.5em .8em;color:#57606a">{}</p>'
PANEL = BOX.format(
    "Interactive panel: open this chapter with <code>make lab</code> to move its controls. The figure below shows its first state."
)
GUESS = BOX.format(
    "Guess before you read on. With <code>make lab</code> the chapter keeps your guess and draws it beside the truth."
)
# the lab template of nbconvert without its scripts from the network
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
body { max-width: 1080px; margin: 0 auto; padding: 0 1rem 4rem; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
.jp-RenderedMarkdown { font-size: 16px; line-height: 1.6; }
.jp-RenderedMarkdown pre { margin: 1em 0; }
.jp-RenderedMarkdown table { font-size: 15px; }
.jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }
nav.book { padding: 1rem 0; font-family: sans-serif; }
math[display=block] { margin: .6em 0; font-size: 1.15em; }
</style>{% endblock %}
{% block body_header %}{{ super() }}<nav class="book"><a href="index.html">All chapters</a></nav>{% endblock %}
"""


INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>FrankenSplit Workbook</title><style>
body {{ font: 17px/1.6 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1f24;
       max-width: 1000px; margin: 3rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: .2rem; }}
.lead, dt, footer {{ color: #57606a; }}
.lead {{ margin-top: 0; }}
article {{ border-top: 1px solid #d0d7de; padding: 1.2rem 0; }}
article h2 {{ margin: 0; font-size: 1.25rem; }}
article p {{ margin: .4rem 0; }}
dl {{ display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: .6rem 0 0; }}
dl div {{ display: flex; gap: .5rem; }}
dd {{ margin: 0; font-variant-numeric: tabular-nums; font-weight: 600; }}
a {{ color: #0072B2; }}
footer {{ font-size: .85rem; border-top: 1px solid #d0d7de; padding-top: 1rem; }}
</style>{style}</head><body>
<h1>FrankenSplit Workbook</h1>
<p class="lead">Neural feature compression for mobile edge computing: see it, run it, doubt it, measure it.</p>
{entries}
<footer>Measured on {machine}.</footer>
{script}
</body></html>
"""


class _Renderer(IPythonRenderer):
    """Formulas as MathML, which browsers draw by themselves."""

    def inline_math(self, body: str) -> str:
        return convert(body)

    def block_math(self, body: str) -> str:
        return convert(body, display="block")


class _Exporter(HTMLExporter):
    def markdown2html(self, context: object, source: str) -> str:  # noqa: ARG002
        return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(source)

    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg

    def default_filters(self) -> Iterator[tuple[str, object]]:
        yield from super().default_filters()
        yield ("markdown2html", self.markdown2html)


def write_chapter(run: ChapterRun, site: Path) -> Path:
    """The chapter's page.

    Args:
        run: executed.
        site: folder, made if missing.
    """
    site.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(run.executed, as_version=4)
    notebook.metadata["title"] = run.title
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        note = GUESS if "predict" in cell.metadata.get("tags", []) else PANEL
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDGET in data:
                output["data"] = nbformat.NotebookNode({"text/html": note})
            elif "text/html" in data:  # plotly asks a CDN for MathJax, which no figure of ours needs
                data["text/html"] = REMOTE_SCRIPT.sub("", data["text/html"])
    exporter = _Exporter(extra_loaders=[DictLoader({"book.html.j2": TEMPLATE})], template_file="book.html.j2")
    page, _ = exporter.from_notebook_node(notebook)
    path = site / f"{run.executed.stem}.html"
    write_atomically(path, page.encode())
    return path


def write_index(runs: list[ChapterRun], site: Path, machine: str) -> Path:
    """The table of contents: chapter, picture, claim, seconds, headline numbers."""
    entries = "".join(_entry(run) for run in runs)
    page = INDEX.format(entries=entries, machine=html.escape(machine), style=STYLE, script=SCRIPT)
    write_script(site)
    path = site / "index.html"
    write_atomically(path, page.encode())
    return path


def _entry(run: ChapterRun) -> str:
    numbers = "".join(
        f"<div><dt>{html.escape(name.replace('_', ' '))}</dt><dd>{value:,.4g}</dd></div>"
        for name, value in run.numbers.items()
    )
    return (
        f"<article>{chapter_picture(run.executed)}"
        f'<div><h2><a href="{run.executed.stem}.html">{html.escape(run.title)}</a></h2>'
        f"<p>{html.escape(run.claim)}</p><p>{run.seconds:.0f} s in the quick profile</p><dl>{numbers}</dl></div></article>\n"
    )
