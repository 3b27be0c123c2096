"""Family ``arrivals``: when each client asks.

``process`` holds what an arrival process must offer and the base class for new ones; every other
module is one process. All draws are functions of the seed, the client and the number of the draw, so
a longer run begins with the same requests, and every policy of a sweep meets the same load.
"""

from nmoe_sim.inference.arrivals.deterministic import Deterministic
from nmoe_sim.inference.arrivals.diurnal import Diurnal
from nmoe_sim.inference.arrivals.mmpp import Mmpp
from nmoe_sim.inference.arrivals.poisson import Poisson
from nmoe_sim.inference.arrivals.process import ArrivalProcess, Arrivals
from nmoe_sim.inference.arrivals.trace import Trace

__all__ = ["ArrivalProcess", "Arrivals", "Deterministic", "Diurnal", "Mmpp", "Poisson", "Trace"]
