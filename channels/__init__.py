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

from channels import environments, fading, laws, link_adaptation, path_loss, shadowing, units
from channels.channel import Channel
from channels.geometry import LinkGeometry

__all__ = [
    "Channel",
    "LinkGeometry",
    "environments",
    "fading",
    "laws",
    "link_adaptation",
    "path_loss",
    "shadowing",
    "units",
]
