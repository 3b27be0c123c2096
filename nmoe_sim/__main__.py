"""``python -m nmoe_sim``."""

import sys

from nmoe_sim.cli import main

sys.exit(main())
