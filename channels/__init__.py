"""Radio laws on NumPy arrays: path loss, shadowing, fading, link adaptation and their composition.

Usable on its own: arrays in, arrays out, no clock, no state. Quantities are linear unless the name
ends in ``_db`` or ``_dbm``.

>>> import channels
>>> loss_db = channels.path_loss.tr38901(
...     "umi", distance_2d_m=[50.0, 100.0], carrier_hz=3.5e9, height_bs_m=10.0, height_ut_m=1.5, los=[True, False]
... )
>>> [round(float(x), 1) for x in loss_db]
[79.1, 104.6]
"""

from channels import (
    antennas,
    block_errors,
    csma,
    doppler,
    environments,
    fading,
    harq,
    interference,
    laws,
    link_adaptation,
    mobility,
    nr,
    nr_link,
    path_loss,
    rayleigh_field,
    shadowing,
    subbands,
    traced,
    units,
)
from channels.channel import Channel
from channels.geometry import LinkGeometry
from channels.sites import Sites

__all__ = [
    "Channel",
    "LinkGeometry",
    "Sites",
    "antennas",
    "block_errors",
    "csma",
    "doppler",
    "environments",
    "fading",
    "harq",
    "interference",
    "laws",
    "link_adaptation",
    "mobility",
    "nr",
    "nr_link",
    "path_loss",
    "rayleigh_field",
    "shadowing",
    "subbands",
    "traced",
    "units",
]
