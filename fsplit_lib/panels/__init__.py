"""Interactive demos: controls, a figure, one sentence. They compute nothing; they show what they are handed."""

from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.panels.predict import Prediction, predict, predictions_csv
