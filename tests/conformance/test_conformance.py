"""Maps of every architecture of `transformers` are those that it attends with."""

import warnings

import pytest
import transformers

from tests.conformance.__main__ import check_all
from tests.conformance.check import Result
from tests.conformance.tiny_models import model_types

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results() -> list[Result]:
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check_all(model_types())


def test_no_map_is_wrong(results) -> None:
    assert [each for each in results if each.kind == "wrong"] == []


def test_nearly_all_that_attend_are_recorded(results) -> None:
    attending = [each for each in results if each.kind in ("right", "partly", "refused")]
    right = [each for each in attending if each.kind == "right"]
    assert len(attending) > 400
    assert len(right) / len(attending) >= 0.95
