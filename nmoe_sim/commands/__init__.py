"""The commands of ``nmoe-sim``; each module's ``add`` gives the parser one command, or some that belong together."""
