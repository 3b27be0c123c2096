"""Family ``sharing``: what the active transfers of a medium do with its spectrum."""
