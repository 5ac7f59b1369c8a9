"""The figures and the panel of each chapter, one module per chapter."""
