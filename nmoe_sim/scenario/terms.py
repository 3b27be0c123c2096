"""Names that the literature gives to methods which are settings here, or kinds by another name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_TERMS: Mapping[str, Mapping[str, str]] = {
    "extractor_training": {
        "fedavg": "FedAvg is what 'fedce' does on labels and 'spectral' without them",
        "simclr": "what learns without labels here is 'fedsc' or 'spectral'",
    },
    "gate_training": {
        "fedavg": "FedAvg on the whole gate is 'fedgate' with synchronise: all",
        "local": "a gate that is trained at home is 'fedgate' with synchronise: none",
    },
    "protocol": {
        "fedasync": "FedAsync is 'asynchronous'",
        "fedbuff": "FedBuff is 'buffered'",
        "semi_synchronous": "'deadline' with late: keep",
    },
    "server_update": {"fedavg": "FedAvg's is 'average'"},
    "local_update": {"fedavg": "FedAvg's is 'sgd'"},
    "compression": {"qsgd": "QSGD is 'quantise'"},
}


def meant(word: str, family: str, families: Mapping[str, Collection[str]]) -> str | None:
    """Return what an unknown kind of a family is called here, or which other family has it; None: nothing is known.

    Parameters
    ----------
    word : str
        What was written.
    family : str
        The family it isn't in.
    families : mapping of str to collection of str
        Kinds of all families.
    """
    if term := _TERMS.get(family, {}).get(word.lower()):
        return term
    other = next((name for name, kinds in families.items() if name != family and word in kinds), None)
    return f"'{word}' is a kind of {other}" if other and word != "none" else None
