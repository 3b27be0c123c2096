"""What a networked mixture of experts is compared with, as trainings of the same stages, with the same books.

A baseline is a choice of the three trainings; a wrong one is refused, with the remedy:

| baseline | ``training.extractor`` | ``training.experts`` | ``training.gate`` |
|---|---|---|---|
| untrained extractor | ``untrained`` | ``local`` | any |
| one dense model of equal size, FedAvg | ``dense`` | ``head`` | ``own`` |
| personalised models | ``fedper``, ``fedrep`` | ``head`` | ``own`` |
| everybody alone | ``local_only`` | ``local`` | ``own`` |
| a mixture trained in one place | ``centralised`` | ``head`` | ``joint`` |
| the client's own expert | any | ``local`` | ``own`` |
| an oracle in the gate's place | any | ``local`` | ``oracle`` |
"""

from nmoe_sim.training.baselines.alone import LocalOnly, Untrained
from nmoe_sim.training.baselines.centralised import Centralised, JointGate
from nmoe_sim.training.baselines.dense import Dense
from nmoe_sim.training.baselines.personal import FedPer, FedRep

__all__ = ["Centralised", "Dense", "FedPer", "FedRep", "JointGate", "LocalOnly", "Untrained"]
