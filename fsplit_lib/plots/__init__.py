"""Data in, plotly figure with alt text out. One template and one look per method for the whole book."""

from fsplit_lib.plots.style import METHODS, TEMPLATE, Look, caption, finish, look_of, show
