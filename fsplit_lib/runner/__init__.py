"""Running chapters: strict parameters, papermill, headline numbers against golden ones, an offline site.

Chapters import the two names below; the rest is behind `fsplit book`.
"""

from fsplit_lib.runner.headline import headline
from fsplit_lib.runner.parameters import refuse_wrong_parameters
