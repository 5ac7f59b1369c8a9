"""Running chapters: strict parameters, papermill, headline numbers against golden ones, an offline site.

:mod:`~fsplit_lib.runner.headline` is what chapters import; the rest is behind `fsplit book`.
"""

from fsplit_lib.runner.headline import headline

__all__ = ["headline"]
