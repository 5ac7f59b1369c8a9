"""The table of equations: every one has a function and a test."""

import pydoc

import pytest
from equations import equation_table, equations

from fsplit_lib.data import data_root


@pytest.mark.parametrize("equation", equations(), ids=lambda e: e.id)
def test_every_equation_has_a_function_and_a_test(equation):
    assert equation.function and pydoc.locate(equation.function) is not None, equation
    assert equation.tests


def test_the_table_of_equations_is_up_to_date():
    kept = (data_root().parent / "notebooks" / "equations.md").read_text()
    assert kept == equation_table(), "write it again: python tests/equations.py"
    ids = [e.id for e in equations()]
    assert len(ids) == len(set(ids)) > 25
