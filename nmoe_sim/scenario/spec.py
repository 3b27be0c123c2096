"""Base of every piece of a scenario, and the marker that makes a field an extension point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import CoreSchema, core_schema


class Spec(BaseModel):
    """A frozen piece of a scenario; its fields are its YAML keys.

    Unknown keys, non-finite numbers and implicit conversions (``"20"`` for ``20``) are errors.
    A spec is importable without torch: it imports torch when it builds something.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    kind: ClassVar[str] = ""
    """Name of this implementation in its family; empty for a plain section."""


Families = Mapping[str, Mapping[str, type[Spec]]]
"""Family name -> kind -> implementation."""


@dataclass(frozen=True)
class Family:
    """Marks a field as an extension point: ``field: Annotated[Law, Family("path_loss")]``.

    In YAML the value is a mapping whose ``kind`` (or another ``key``) picks the implementation. The loader builds the
    implementation before the section that holds it, so that the section only ever sees a spec.

    Parameters
    ----------
    name : str
        The family's name in the table of families.
    default : str, optional
        The kind taken when the mapping or its ``kind`` is left out. Without one, ``kind`` must be given.
    key : str
        The YAML key that picks the implementation.
    """

    name: str
    default: str | None = None
    key: str = "kind"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"x-family": self.name}

    def _check(self, value: Any) -> Any:
        if isinstance(value, Spec) and value.kind:
            return value
        raise ValueError(
            f"expected an implementation of the family '{self.name}'; "
            "build scenarios from mappings with nmoe_sim.build_scenario"
        )
