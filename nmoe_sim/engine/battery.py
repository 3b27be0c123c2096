"""Batteries: when they are empty.

What a device has drawn is the exact integral of its powers. What is known of it lags behind its books, which a job or
a hop enters when it ends; so a look at a battery adds the job that runs and the airtime that hops under way have got.

Looks are few. Nobody draws more than ``most_w``, all components on at once, so a battery with J joules left is not
empty within ``J / most_w`` seconds, and nobody looks before. Each look leaves less; near the end the bound takes only
what is on, and whatever is switched on has the battery looked at again. So an empty battery is found at its very time
while no radio is on; while one is, which has only a share of its medium, at most ``STEP_S`` late. A battery is
therefore overdrawn by no more than ``most_w * STEP_S``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from simpy import Environment
from simpy.events import Timeout

from nmoe_sim.engine.device import Device

STEP_S = 1e-3
"""Least time from one look to the next while a radio is on."""
NEAR_S = 1.0
"""A battery that may be empty within this time is near its end."""
_ROUNDING = 1e-12
"""Part of the charge that sums of powers may be off by."""


class Battery:
    """Looks at one device's battery until it is empty.

    Parameters
    ----------
    env : simpy.Environment
    device : Device
        Of a profile with ``battery_j``.
    radio_w : float
        Most its radios can draw, all on at once.
    on_air_j : callable
        What hops under way have drawn so far; None: none is under way.
    up_s : callable
        For how long the device has been up.
    empty : callable
        Called when the battery is empty, once.
    """

    def __init__(
        self,
        env: Environment,
        device: Device,
        *,
        radio_w: float,
        on_air_j: Callable[[], float | None],
        up_s: Callable[[], float],
        empty: Callable[[], None],
    ) -> None:
        self._env = env
        self._device = device
        self._radio_w = radio_w
        self._on_air_j = on_air_j
        self._up_s = up_s
        self._empty = empty
        self._charge_j = device.profile.charge_j or 0.0
        self._timer: Timeout | None = None
        self._timer_s = math.inf
        self.look()

    def left_j(self) -> float:
        """Return the energy that is left; a battery may be overdrawn by a trifle, see the module."""
        device = self._device
        booked_j = device.profile.idle_w * self._up_s() + device.energy.total_j
        return self._charge_j - (booked_j + device.computed_j() + (self._on_air_j() or 0.0))

    def look(self) -> None:
        """Find out whether the battery is empty; if not, when to look again."""
        device, now = self._device, self._env.now
        if not device.is_up:
            return
        on_air_j, left_j = self._on_air_j(), self.left_j()
        idle_w, compute_w = device.profile.idle_w, device.compute_w
        most_w = idle_w + compute_w + self._radio_w
        if left_j > most_w * NEAR_S:
            device.on_load = None
            self._arm(left_j / most_w)
            return
        device.on_load = self.look
        most_w = idle_w + (compute_w if device.free_at_s > now else 0.0)
        if on_air_j is not None:
            most_w += self._radio_w
        if left_j <= max(_ROUNDING * self._charge_j, 2.0 * math.ulp(now) * most_w):
            device.on_load = None
            self._empty()
        elif most_w > 0:
            self._arm(max(left_j / most_w, 0.0 if on_air_j is None else STEP_S))

    def _arm(self, delay_s: float) -> None:
        if self._env.now + delay_s < self._timer_s:
            self._timer = timer = Timeout(self._env, delay_s)
            self._timer_s = self._env.now + delay_s
            timer.callbacks.append(lambda _: self._fire(timer))

    def _fire(self, timer: Timeout) -> None:
        if timer is self._timer:
            self._timer, self._timer_s = None, math.inf
            self.look()
