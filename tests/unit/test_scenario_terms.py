"""Names of the literature lead to settings that exist."""

from __future__ import annotations

import re

import pytest
from conftest import tiny_scenario

from nmoe_sim.errors import InputError
from nmoe_sim.families import families
from nmoe_sim.scenario.terms import _TERMS


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        (
            {"training.extractor": {"kind": "fedavg"}},
            "FedAvg is what 'fedce' does on labels and 'spectral' without them",
        ),
        ({"training.gate": {"kind": "FedAvg"}}, "FedAvg on the whole gate is 'fedgate' with synchronise: all"),
        ({"training.extractor": {"kind": "fedprox"}}, "'fedprox' is a kind of local_update"),
        ({"training.extractor.protocol": {"kind": "fedbuff"}}, "FedBuff is 'buffered'"),
        ({"training.extractor.privacy": {"kind": "quantise"}}, "'quantise' is a kind of compression"),
        ({"training.gate": {"kind": "fedgat"}}, "did you mean 'fedgate'?"),
    ],
)
def test_a_name_of_the_literature_is_explained(changes, hint):
    with pytest.raises(InputError, match=r"unknown kind '\w+'; one of .*; ") as caught:
        tiny_scenario(changes)
    assert str(caught.value).endswith(hint)


def test_every_term_names_kinds_of_its_family_and_is_none_itself():
    known = families()
    for family, terms in _TERMS.items():
        for term, hint in terms.items():
            assert term not in known[family]
            quoted = re.findall(r"'(\w+)'", hint)
            assert quoted
            assert set(quoted) <= set(known[family])
