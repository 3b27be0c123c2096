"""Policy ``csma_ca``: stations that listen before they talk."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from channels import csma
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.engine.sharing.policy import Sharing

Microseconds = Annotated[float, Field(ge=0, le=1e-2)]


class CsmaCa(Sharing):
    """Wi-Fi: the distributed coordination function of IEEE 802.11, in Bianchi's saturation model.

    The n senders with something to send contend for every packet. Each wins equally often, whatever its rate, so a
    slow station slows everybody (Heusse et al. 2003), and backoff and collisions take time that grows with n
    (Bianchi 2000; ``channels.csma``). A sender divides its wins equally among its transfers. Defaults are those of the
    OFDM PHY with 20 MHz at 5 GHz (IEEE 802.11-2020, Table 17-21), without the extensions of 802.11n and later.

    Energy: a sender's radio is on for its frames, collided ones included; a receiver's for the frames it gets.

    Left out: aggregation of frames, RTS/CTS, EDCA priorities, retry limits, hidden nodes and capture; stations out of
    saturation (a lone short transfer waits an average backoff); acknowledgements and idle listening in
    energies; a last packet that isn't full. To other media, all transfers seem to be on air in equal parts.
    """

    kind: ClassVar[str] = "csma_ca"
    half_duplex_only: ClassVar[bool] = True
    listens: ClassVar[bool] = True

    packet_bytes: Annotated[int, Field(ge=1, le=65_535)] = 1500
    """Payload of a frame: an Ethernet packet."""
    header_bytes: Annotated[int, Field(ge=0, le=1000)] = 36
    """MAC header (24), frame check (4) and LLC/SNAP (8), sent at the link's rate."""
    preamble_s: Microseconds = 20e-6
    """PHY preamble and SIGNAL field of a frame (16 + 4 µs)."""
    slot_s: Annotated[float, Field(gt=0, le=1e-2)] = 9e-6
    """aSlotTime."""
    sifs_s: Microseconds = 16e-6
    """aSIFSTime; DIFS is SIFS and two slots, EIFS is SIFS, acknowledgement and DIFS."""
    ack_s: Microseconds = 44e-6
    """Acknowledgement of 14 bytes at the lowest rate of 6 Mbit/s: preamble and 6 symbols of 4 µs."""
    cw_min: Annotated[int, Field(ge=1, le=65_535)] = 15
    """aCWmin: the first backoff is drawn from 0 … cw_min slots."""
    num_doublings: Annotated[int, Field(ge=0, le=16)] = 6
    """How often collisions double the window; 6 lead from 15 to aCWmax of 1023."""

    def memory(self) -> Any:
        """Return the attempt probabilities worked out so far, by number of contenders."""
        return {}

    def plan(self, load: Load) -> Plan:
        """Return the parts of the time that contention gives."""
        rate_bps = load.rate_bps
        frame_s = self.preamble_s + 8.0 * (self.header_bytes + self.packet_bytes) / rate_bps
        _, station = np.unique(load.sender, return_inverse=True)
        num_legs = np.bincount(station)
        won = csma.saturation(
            np.bincount(station, frame_s) / num_legs,
            attempt_probability=self._attempt_probability(len(num_legs), load.memory),
            slot_s=self.slot_s,
            success_overhead_s=2.0 * self.sifs_s + 2.0 * self.slot_s + self.ack_s,
            collision_overhead_s=2.0 * self.sifs_s + 2.0 * self.slot_s + self.ack_s,
        )
        per_leg = 1.0 / num_legs[station]
        return Plan(
            won.packet_hz * per_leg * 8.0 * self.packet_bytes / rate_bps,
            tx_share=won.attempt_hz * per_leg * frame_s,
            rx_share=won.packet_hz * per_leg * frame_s,
        )

    def _attempt_probability(self, num_stations: int, known: dict[int, float]) -> float:
        if num_stations not in known:
            known[num_stations] = float(
                csma.attempt_probability(num_stations, window=self.cw_min + 1, num_doublings=self.num_doublings)
            )
        return known[num_stations]
