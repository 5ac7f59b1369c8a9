"""From likelihoods to bytes.

:mod:`~fsplit_lib.entropy.coding` turns integer symbols and integer tables into bytes (numpy and
constriction; it runs on a phone without torch). :mod:`~fsplit_lib.entropy.models` learns the tables
(torch and CompressAI).
"""
