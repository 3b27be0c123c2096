"""Co-simulation of networked mixtures of experts on wireless edge networks."""
