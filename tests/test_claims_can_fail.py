"""A claim can fail: under a wrong rule, the claims whose numbers it changes do.

This is a fast part of `make mutate-claims`, which plants every mutation under the quick experiments of all
papers.
"""

import pytest
from planted import planted, touched

# Half and double steps are not here: they change no limit, of which most of these claims speak.
MUTATIONS = ("sign", "frozen", "vertex", "always moves")


@pytest.fixture(scope="module")
def true():
    return planted("none", ["mpo"])


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_claims_on_magnets_fail_under_wrong_rules(mutation, true):
    wrong = planted(mutation, ["mpo"])
    changed = touched(true, wrong)
    assert len(changed) >= 2
    assert [name for name in changed if wrong[name][0]] == []


def test_claims_on_magnets_hold_without_a_mutation(true):
    assert len(true) == 6
    assert all(holds for holds, _ in true.values())
