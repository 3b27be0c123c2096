"""What a loaded scenario knows beside its fields: where each was written, how to vary it and write it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import PrivateAttr

from nmoe_sim.errors import InputError
from nmoe_sim.scenario import messages, tree
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.dump import digest, resolve_spec, to_yaml
from nmoe_sim.scenario.merge import changes_tree, merge
from nmoe_sim.scenario.spec import Families, Spec


class Document(Spec):
    """The top of a scenario file.

    Where its settings were written is no part of its value: documents from two files are equal
    when their fields are.
    """

    _source: tree.Table | None = PrivateAttr(None)
    _families: Families = PrivateAttr(default_factory=dict)

    @classmethod
    def from_tree(cls, source: tree.Table, families: Families) -> Self:
        """Return the document that a merged tree describes.

        Raises
        ------
        InputError
            For the first setting that is unknown, missing or breaks a rule.
        """
        document = build_spec(cls, source, families)
        document._source = source
        document._families = {name: dict(kinds) for name, kinds in families.items()}
        return document

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(self.scenario_hash)

    def where(self, key: str) -> str | None:
        """Return where a setting was written, such as ``x.yaml:12:3`` or ``--set model.top_k=9``.

        Parameters
        ----------
        key : str
            Dotted path, list items by index. For a setting that was left out, the nearest one around
            it answers.

        Returns
        -------
        str or None
            None for a scenario made in Python.
        """
        return tree.where(self._source, key) if self._source else None

    def error(self, message: str, key: str) -> InputError:
        """Return the error about one of this document's settings, with its position."""
        return messages.error(message, self.where(key), key)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a document that differs in some settings, all checks made again.

        A change works as the same setting in a file that extends this one: mappings merge, everything
        else is replaced, and a new kind keeps what it has in common with the old one.

        Parameters
        ----------
        changes : Mapping
            Dotted key, such as ``radio.bandwidth_hz`` or ``devices.0.count``, to its new value: plain,
            a nested mapping, or a ready-made spec.

        Raises
        ------
        InputError
            For a setting that is unknown or breaks a rule, and for a document made by its bare class.
        """
        if self._source is None:
            raise InputError("only a scenario made by load_scenario or build_scenario can be varied")
        merged = merge(type(self), self._source, changes_tree(changes), self._families)
        return self.from_tree(merged, self._families)

    def resolved(self) -> dict[str, Any]:
        """Return every setting, defaults included, as a plain nested mapping in declared order.

        Kinds come first in their mappings, tuples are lists; built again it gives an equal document.
        """
        return resolve_spec(self)

    def to_yaml(self) -> str:
        """Return ``resolved`` as YAML."""
        return to_yaml(self.resolved())

    @property
    def scenario_hash(self) -> str:
        """SHA-256, in hex, of all settings but the seed and those that depend on the machine.

        The latter are marked ``Field(json_schema_extra={"machine_dependent": True})``.
        """
        plain = resolve_spec(self, portable=True)
        plain.pop("seed", None)
        return digest(plain)

    @property
    def run_id(self) -> str:
        """First 12 digits of the hash, and the seed: ``0123456789ab-s7``."""
        return f"{self.scenario_hash[:12]}-s{self.resolved()['seed']}"
