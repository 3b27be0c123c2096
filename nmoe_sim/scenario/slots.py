"""What each field of a spec holds: a family's implementation, a section, or a plain value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from nmoe_sim.scenario.spec import Families, Family, Spec


@dataclass(frozen=True)
class Slot:
    """A field that holds specs.

    Parameters
    ----------
    family : Family or None
        The extension point, or None for a section.
    section : type of Spec or None
        The section's class, or None for a family.
    many : bool
        Whether the field is a tuple of them.
    nullable : bool
        Whether null is a value of the field.
    required : bool
        Whether the class itself gives no default; the loader then builds what is left out.
    """

    family: Family | None
    section: type[Spec] | None
    many: bool = False
    nullable: bool = False
    required: bool = True

    def kinds(self, families: Families) -> Mapping[str, type[Spec]]:
        """Return kind -> implementation; empty for a section."""
        return families[self.family.name] if self.family else {}

    def spec_class(self, kind: Any, families: Families) -> type[Spec] | None:
        """Return the class that ``kind`` picks, None when it picks none."""
        if self.family is None:
            return self.section
        return self.kinds(families).get(kind) if isinstance(kind, str) else None


def slots(cls: type[Spec]) -> dict[str, Slot]:
    """Return the fields of a spec that hold specs, in declared order."""
    found = {}
    for name, info in cls.model_fields.items():
        marker = _family(info.metadata)
        slot = Slot(marker, None) if marker else _slot(info.annotation)
        if slot is not None:
            found[name] = replace(slot, required=info.is_required())
    return found


def _family(metadata: Iterable[Any]) -> Family | None:
    return next((item for item in metadata if isinstance(item, Family)), None)


def _slot(annotation: Any) -> Slot | None:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marker = _family(args[1:])
        return Slot(marker, None) if marker else _slot(args[0])
    if origin in (Union, UnionType) and NoneType in args and len(args) == 2:
        inner = _slot(args[0] if args[1] is NoneType else args[1])
        return replace(inner, nullable=True) if inner else None
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        item = _slot(args[0])
        return replace(item, many=True) if item else None
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return Slot(None, annotation)
    return None
