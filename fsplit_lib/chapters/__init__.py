"""One module a chapter: its figures, its tables and its panel, side by side."""
