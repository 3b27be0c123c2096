"""Two transfers share a medium: the worked example of the physics page."""

import simpy

from nmoe_sim.engine.sharing import EqualShare


class OneBitPerSecond:
    """Both links carry one bit per second, for good."""

    block_s = float("inf")

    def rate_bps(self, link: int, block: int) -> float:
        """Return the rate of a link that has the medium to itself."""
        return 1.0


def main() -> None:
    """Start A at 0 s and B at 1 s, and say when they end."""
    env = simpy.Environment()
    medium = EqualShare().medium(env, OneBitPerSecond())

    def done(name: str, airtime_s: float) -> None:
        print(f"{name} ends at {env.now:g} s after {airtime_s:g} s of airtime")

    medium.start(0, 3.0, done, "A")
    env.run(until=1.0)
    medium.start(1, 1.0, done, "B")
    env.run()


if __name__ == "__main__":
    main()
