"""Radio laws of a scenario: thin specs over ``channels``, one module a family."""
