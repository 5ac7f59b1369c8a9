"""The browser that tests drive says what to install where it is missing."""

import pytest
from browser import BrowserMissing, chromium


def test_a_missing_browser_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrowserMissing, match="apt-get install chromium chromium-driver"), chromium(tmp_path):
        pass
