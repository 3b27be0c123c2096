"""Device profiles: defaults for every budget and power of a device, each with its source.

FLOP/s are sustained fp32 figures, well below datasheet peaks; powers other than ``idle_w`` are drawn on
top of it. Radiated power is the radio's: ``radio.tx_power_dbm`` and ``radio.base_station_tx_power_dbm``.
Every default can be overridden in ``devices``; where a number matters to a study, measure it.

All profiles but the base station carry the cellular modem of the phone: a radio chain of 1.3 W while
active in either direction, about the base power of a connected LTE radio in Huang et al., MobiSys 2012
(1288 mW, quoted from memory; their terms that grow with the rate are left out), and an amplifier of
30 % efficiency at full power (engineering assumption).
"""

from __future__ import annotations

from typing import ClassVar

from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.quantities import Bytes, FlopPerS, Fraction, NonNegative, Positive

MODEM_CIRCUIT_W = 1.3
MODEM_AMPLIFIER_EFFICIENCY = 0.3


class Phone(DeviceProfile):
    """Upper-middle-class phone.

    - FLOP/s: four Cortex-A78-class cores at 2.4 GHz, 16 fp32 FLOP a cycle (two 128-bit FMA pipes), peak at
      154 GFLOP/s; a third of it is taken as sustained under the thermal limit (engineering assumption).
    - Memory: 2 GB of 8 GB for one app (engineering assumption).
    - Powers: 0.3 W awake with the display off and 4 W while all big cores compute (engineering
      assumptions: a phone's skin temperature allows 3 to 5 W for long); radio as in the module's text.
    - Battery: 5000 mAh at 3.85 V, 90 % of it usable (engineering assumption).
    """

    kind: ClassVar[str] = "phone"

    flop_per_s: FlopPerS = 50e9
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 2_000_000_000
    """Memory for models."""
    idle_w: NonNegative = 0.3
    """Awake, display off."""
    compute_w: NonNegative = 4.0
    """On top while computing."""
    rx_w: NonNegative = MODEM_CIRCUIT_W
    """On top while receiving."""
    tx_circuit_w: NonNegative = MODEM_CIRCUIT_W
    """On top while transmitting, without the amplifier."""
    amplifier_efficiency: Fraction = MODEM_AMPLIFIER_EFFICIENCY
    """Radiated over electrical power of the amplifier."""
    battery_j: Positive | None = 62_000.0
    """Usable battery energy."""


class RaspberryPi4(DeviceProfile):
    """Raspberry Pi 4 Model B, 4 GB, with a cellular modem.

    - FLOP/s: twice the 8 GFLOP/s in fp64 that High-Performance Linpack reaches (Feiereisen, "Benchmarking
      the Raspberry Pi 4 with Raspberry Pi OS64", 2022), as fp32 vectors are twice as long; the peak is
      48 GFLOP/s (four Cortex-A72 at 1.5 GHz, 8 FLOP a cycle).
    - Memory: 4 GB less 1 GB for the system (engineering assumption).
    - Powers: 2.7 W idle and 6.4 W with four loaded cores, the widely quoted wall readings (540 and
      1280 mA at 5 V); chipwired.com read 2.7 to 3.0 W and 6.3 W. Radio as in the module's text.
    """

    kind: ClassVar[str] = "raspberry_pi_4"

    flop_per_s: FlopPerS = 16e9
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 3_000_000_000
    """Memory for models."""
    idle_w: NonNegative = 2.7
    """Idle, wall power."""
    compute_w: NonNegative = 3.7
    """On top with four cores loaded."""
    rx_w: NonNegative = MODEM_CIRCUIT_W
    """On top while receiving."""
    tx_circuit_w: NonNegative = MODEM_CIRCUIT_W
    """On top while transmitting, without the amplifier."""
    amplifier_efficiency: Fraction = MODEM_AMPLIFIER_EFFICIENCY
    """Radiated over electrical power of the amplifier."""
    battery_j: Positive | None = None
    """Mains."""


class JetsonOrinNano(DeviceProfile):
    """NVIDIA Jetson Orin Nano 8 GB in its 15 W mode, with a cellular modem.

    - FLOP/s: the module's datasheet gives 1024 CUDA cores at up to 625 MHz, a peak of 1.28 TFLOP/s in fp32
      (one FMA a core and cycle); half of it is taken as sustained (engineering assumption).
    - Memory: 8 GB shared by CPU and GPU less 2 GB for the system (engineering assumption).
    - Powers: 15 W in all when busy, the limit of the power mode; 5 W of it idle (engineering assumption).
      Radio as in the module's text.
    """

    kind: ClassVar[str] = "jetson_orin_nano"

    flop_per_s: FlopPerS = 640e9
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 6_000_000_000
    """Memory for models."""
    idle_w: NonNegative = 5.0
    """Idle."""
    compute_w: NonNegative = 10.0
    """On top while computing."""
    rx_w: NonNegative = MODEM_CIRCUIT_W
    """On top while receiving."""
    tx_circuit_w: NonNegative = MODEM_CIRCUIT_W
    """On top while transmitting, without the amplifier."""
    amplifier_efficiency: Fraction = MODEM_AMPLIFIER_EFFICIENCY
    """Radiated over electrical power of the amplifier."""
    battery_j: Positive | None = None
    """Mains."""


class EdgeServer(DeviceProfile):
    """One-socket server with one NVIDIA T4, reached through a cellular modem.

    - FLOP/s: the T4's datasheet peak is 8.1 TFLOP/s in fp32 within 70 W; the board throttles under that limit
      in long runs (Jia et al., arXiv 1903.07486), so half of it is taken as sustained (engineering assumption).
    - Memory: 16 GB on the board less 1 GB for the runtime (engineering assumption).
    - Powers: 100 W idle (engineering assumption); on top the board's 70 W limit and 30 W of the host while
      computing (engineering assumption). Radio as in the module's text.
    """

    kind: ClassVar[str] = "edge_server"

    flop_per_s: FlopPerS = 4e12
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 15_000_000_000
    """Memory for models."""
    idle_w: NonNegative = 100.0
    """Idle."""
    compute_w: NonNegative = 100.0
    """On top while computing."""
    rx_w: NonNegative = MODEM_CIRCUIT_W
    """On top while receiving."""
    tx_circuit_w: NonNegative = MODEM_CIRCUIT_W
    """On top while transmitting, without the amplifier."""
    amplifier_efficiency: Fraction = MODEM_AMPLIFIER_EFFICIENCY
    """Radiated over electrical power of the amplifier."""
    battery_j: Positive | None = None
    """Mains."""


class BaseStation(DeviceProfile):
    """Micro base station with a small compute host beside it.

    - Radio powers: the EARTH model P_in = N_TRX·(P_0 + Δ_p·P_out) with the micro row of Auer et al. 2011 ("How
      much energy is needed to run a wireless network?", IEEE Wireless Communications 18(5), Table 2):
      N_TRX = 2, P_0 = 56 W, Δ_p = 2.6, up to 6.3 W (38 dBm) a transceiver. A running cell always sends
      reference signals, so N_TRX·P_0 = 112 W is idle power, which holds the receivers and baseband too:
      nothing is added for receiving or circuits, and 1/Δ_p is the amplifier's efficiency. The sleep state
      (39 W a transceiver) is left out. For a pico cell take P_0 = 6.8 W, Δ_p = 4.0, up to 0.13 W.
    - FLOP/s, memory and computing power: a host of 16 x86 cores at 2.5 GHz, 32 fp32 FLOP a cycle, peak at
      1.28 TFLOP/s, 40 % of it sustained, 32 GB for models and 100 W while computing (engineering assumptions).
    """

    kind: ClassVar[str] = "base_station"

    flop_per_s: FlopPerS = 500e9
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 32_000_000_000
    """Memory for models."""
    idle_w: NonNegative = 112.0
    """Drawn by a running cell at no load."""
    compute_w: NonNegative = 100.0
    """On top while computing."""
    rx_w: NonNegative = 0.0
    """In ``idle_w``."""
    tx_circuit_w: NonNegative = 0.0
    """In ``idle_w``."""
    amplifier_efficiency: Fraction = 1 / 2.6
    """Radiated power over the power that grows with it, 1/Δ_p."""
    battery_j: Positive | None = None
    """Mains."""


class Custom(DeviceProfile):
    """A device of one's own: every budget and power must be given."""

    kind: ClassVar[str] = "custom"
