"""The house: floors, style, size, documentation, and what may not be committed."""

import hashlib
import importlib
import inspect
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fsplit_lib

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(fsplit_lib.__path__, "fsplit_lib.")]


def test_imports_go_down_the_floors():
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public, thing in vars(module).items():
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == name and public[0] != "_":
            assert thing.__doc__, f"{name}.{public}"


def tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_names_of_the_library_in_chapters_and_readme_exist():
    texts = {path.name: path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "notebooks").glob("*.*")]}
    named = {(file, name) for file, text in texts.items() for name in re.findall(r"\bfsplit_lib(?:\.\w+)+", text)}
    assert len(named) > 100
    assert [one for one in sorted(named) if pydoc.locate(one[1]) is None] == []


def test_tracked_files_and_their_history_are_small():
    assert sum(path.stat().st_size for path in tracked()) < 60e6
    git = lambda *arguments, **more: subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, **more
    )
    names = git("rev-list", "--objects", "--no-object-names", "HEAD").stdout
    sizes = git("cat-file", "--batch-check=%(objectsize:disk)", input=names).stdout.split()
    assert sizes and sum(map(int, sizes)) < 120e6


def test_no_path_of_a_developers_machine_is_committed():
    place = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users)/\w")
    texts = [p for p in tracked() if p.suffix in {".py", ".md", ".json", ".ipynb", ".toml", ".yml", ".cff", ".csv", ""}]
    guilty = [p.name for p in texts if p.parent.name != "tests" and place.search(p.read_text(errors="ignore"))]
    assert guilty == []


def test_every_data_file_is_listed_with_its_checksum():
    rows = re.findall(
        r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \| ([\d,]+) \| `([0-9a-f]{64})` \|$",
        (ROOT / "data/README.md").read_text(),
        re.M,
    )
    listed = {name: (int(size.replace(",", "")), digest) for name, size, digest in rows}
    there = {
        p.relative_to(ROOT / "data").as_posix(): (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in tracked()
        if p.is_relative_to(ROOT / "data") and p.name != "README.md"
    }
    assert listed == there
