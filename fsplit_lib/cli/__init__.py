"""The ``fsplit`` command: book, test, lab, class, grid, train, compress, predict, evaluate, serve, send, export, latency."""

from fsplit_lib.cli.app import app, main
