"""Contact sheet of the generator."""

import numpy as np
import pytest

from gendkit.nobody import plan, sheet

SOME = [plan.Person("", seed, "fit", 0, 0) for seed in (3, 4)]


def test_portraits_differ_and_repeat():
    first, second = (sheet.portrait(one) for one in SOME)
    assert first.shape == (256, 256, 3) and first.dtype == np.uint8
    assert (first == sheet.portrait(SOME[0])).all() and (first != second).mean() > 0.5


def test_a_sheet_has_rows_of_cells(monkeypatch):
    monkeypatch.setattr(sheet, "portrait", lambda one: np.full((256, 256, 3), one.seed, np.uint8))
    image = sheet.sheet(SOME * 2, n_columns=2, side=16)
    assert image.shape == (32, 32, 3)
    assert (image[:16, :16] == 3).all() and (image[:16, 16:] == 4).all()


def test_rows_must_be_filled():
    with pytest.raises(ValueError, match="2 people do not fill rows of 8; give a multiple of 8"):
        sheet.sheet(SOME)
