"""The count of local bases that missed their tolerance, and how it is said."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgeo.convergence import Convergence, Tally, summary
from diffgeo.svd import Certificate

F64 = torch.float64


def certificate(residual, tol=1e-4, share=math.nan):
    left = torch.tensor([0.0, residual], dtype=F64)
    return Certificate(left, torch.zeros(2, dtype=F64), tol, 10, "golub_kahan", share=share)


@given(st.lists(st.floats(0, 1e6)))
def test_what_missed_and_the_worst_are_those_of_the_list(ratios):
    found = Convergence.of(ratios)
    assert (found.bases, found.missed) == (len(ratios), sum(r > 1 for r in ratios))
    assert found.worst == max(ratios, default=0)
    assert found.complete == (found.worst <= 1)


def test_a_residual_that_is_no_number_missed():
    found = Convergence.of([0.5, math.nan])
    assert (found.missed, found.worst) == (1, math.inf)


def test_a_basis_that_is_used_twice_counts_once_and_studies_count_apart():
    tally, good, bad = Tally(), certificate(1e-5), certificate(3e-3)
    tally.note(bad, None)  # outside of a study
    with tally.study():
        for one in (good, bad, good, bad, certificate(1e-5)):
            tally.note(one, None)
        assert tally.convergence == Convergence(3, 1, pytest.approx(30), 0)
    with tally.study():
        tally.note(good, None)
        assert tally.convergence.missed == 0
    assert tally.convergence == Convergence()


def test_certificates_that_are_gone_do_not_lend_their_ids():
    tally = Tally()
    with tally.study():
        for _ in range(50):
            tally.note(certificate(1e-5), None)  # nothing else keeps it
        assert tally.convergence.bases == 50


def test_a_basis_short_of_its_share_is_counted_unless_no_share_was_asked_of_it():
    tally = Tally()
    with tally.study():
        tally.note(certificate(1e-5, share=0.4), 0.5)
        tally.note(certificate(1e-5, share=0.6), 0.5)
        tally.note(certificate(1e-5), 0.5)  # made with a rank of its own
        tally.note(certificate(1e-5, share=0.4), None)
        assert tally.convergence == Convergence(4, 0, pytest.approx(0.1), 1)


def test_the_summary_names_studies_numbers_and_what_to_change():
    found = {"a": Convergence(4, 0, 0.9), "b": Convergence(12, 3, 41.5), "c": Convergence(2, 2, 7193.8)}
    said = summary(found, {"b": "Spectrum"})
    assert "3 of 12 in Spectrum, 2 of 2 in c" in said
    assert " in a" not in said
    assert "7194 times the tolerance" in said
    assert "raise svd.max_passes" in said
    assert summary({"a": found["a"]}) == ""
    assert "raise svd.rank" in summary({"d": Convergence(2, 0, 0.5, short=1)})


def test_a_manifest_of_another_version_is_read_as_far_as_it_is_known():
    assert Convergence.read({}) == {}
    assert Convergence.read({"convergence": None}) == {}
    written = {"convergence": {"a": {"bases": 2, "missed": 1, "worst": 3.0, "later": 5}}}
    assert Convergence.read(written) == {"a": Convergence(2, 1, 3.0)}
