"""Where the command line comes together: sub-commands, and errors as one sentence."""

import sys
import warnings

import typer

from fsplit_lib.cli import book, classroom, device, evaluate, link, photos, train
from fsplit_lib.errors import FsplitError

app = typer.Typer(
    help="The FrankenSplit workbook: neural feature compression for mobile edge computing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    book.book,
    book.test,
    book.lab,
    book.predictions,
    classroom.grid,
    train.train,
    train.saliency,
    photos.compress,
    photos.predict,
    link.serve,
    link.send,
    device.export,
    device.latency,
):
    app.command()(command)
app.command("class")(classroom.class_)
app.add_typer(evaluate.app, name="evaluate")


def main() -> None:
    """Run the command line; what goes wrong on purpose ends in one sentence and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be more than the terminal can show
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: typer.echo(f"note: {message}", err=True)
            warnings.filterwarnings("ignore", "Image size")  # of Pillow; open_image refuses such a photo in a sentence
            app()
    except (FsplitError, OSError) as error:  # of OSErrors: a folder that cannot be made, a file that may not be read
        named = getattr(error, "filename", None)
        typer.secho(f"fsplit: {named}: {error.strerror}" if named else f"fsplit: {error}", fg="red", err=True)
        sys.exit(2)
