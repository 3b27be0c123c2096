"""What is computed: data, models, losses, local training and inference values. No clock here.

Names of arrays and tensors end in their axes, one letter each:

===== ===========================================
 A     clients active in a step of a cohort
 B     samples of a batch
 C     classes; in images ``CHW``, channels
 D     features
 E     experts
 K     experts chosen for a sample
 N     clients, and so also experts, one a client
 P     outputs of a projector
 T     samples of a test set
===== ===========================================

Modules that define specs are importable without torch; every tensor function takes an explicit
generator where it draws.
"""
