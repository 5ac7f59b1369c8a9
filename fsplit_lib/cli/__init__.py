"""The ``fsplit`` command: book, test, lab, train, compress, predict, serve, send, evaluate."""

from fsplit_lib.cli.app import app, main

__all__ = ["app", "main"]
