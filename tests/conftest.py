"""A test that is marked with an equation has to call the code that the book names beside it."""

import pydoc
import sys

import numpy as np
import pytest
from equations import equations
from PIL import Image

MISSED = pytest.StashKey[dict]()
NAMED = {equation.id: equation.function for equation in equations()}


def _codes(name):
    """The code objects of a function, or of all methods of a class."""
    found = pydoc.locate(name)
    members = vars(found).values() if isinstance(found, type) else [found]
    members = [getattr(member, "fget", None) or getattr(member, "__func__", member) for member in members]
    members = [getattr(member, "__wrapped__", member) for member in members]
    return {member.__code__ for member in members if hasattr(member, "__code__")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    missed = {NAMED[id]: _codes(NAMED[id]) for mark in item.iter_markers("equation") for id in mark.args}

    def note(frame, event, _):
        for name in [name for name, codes in missed.items() if event == "call" and frame.f_code in codes]:
            del missed[name]
        if not missed:
            sys.setprofile(None)  # the rest of the test runs at its own pace

    item.stash[MISSED] = missed
    if missed:  # what a fixture calls counts
        sys.setprofile(note)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    sys.setprofile(None)
    assert not (missed := item.stash[MISSED]), (
        f"this test is marked with an equation and never calls {', '.join(missed)}"
    )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    sys.setprofile(None)
    return (yield)


@pytest.fixture(scope="module", autouse=True)
def trainings_are_repeated():
    """Tests train whatever they test; only whole chapters (see test_book) read what another run of them has trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FSPLIT_RUNS", raising=False)
        yield


@pytest.fixture(scope="module")
def teacher():
    """The network that photo codecs are trained with."""
    from fsplit_lib.backbones import load_backbone

    return load_backbone("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Crops of 64 pixels from four photos of smooth noise."""
    from fsplit_lib.data import ImageFolder
    from fsplit_lib.training.sources import FolderSource

    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for n in range(4):
        Image.fromarray(draw.integers(0, 255, (12, 12, 3), np.uint8)).resize((80, 80)).save(folder / f"{n}.png")
    return FolderSource(ImageFolder("noise", sorted(folder.iterdir()), None, ()), 64)
