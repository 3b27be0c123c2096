"""The environments of 3GPP TR 38.901 V16.1: one class each, listed in ``ENVIRONMENTS``.

``channels.path_loss`` is the way in; it turns its arguments into arrays before it asks an environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from channels.environments.base import Environment, Links
from channels.environments.indoor import OFFICES, FactoryDH, FactoryDL, FactorySH, FactorySL, IndoorOffice
from channels.environments.rural import RuralMacro
from channels.environments.urban import UrbanMacro, UrbanMicro

__all__ = ["ENVIRONMENTS", "OFFICES", "Environment", "IndoorOffice", "Links", "RuralMacro"]

ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType(
    {
        "umi": UrbanMicro(),
        "uma": UrbanMacro(),
        "rma": RuralMacro(),
        "inh": IndoorOffice(),
        "inf_sl": FactorySL(),
        "inf_dl": FactoryDL(),
        "inf_sh": FactorySH(),
        "inf_dh": FactoryDH(),
    }
)
"""Name -> environment, with the settings of the TR."""
