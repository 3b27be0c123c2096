"""Federated rounds: who trains when and from which version (the clock's part), and what follows in values."""
