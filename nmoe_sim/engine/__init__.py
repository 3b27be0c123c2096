"""When: clock, topology, devices, media; never torch."""
