"""`python -m ovito_mace_phase` is the command `ovito-mace-phase`."""

from ovito_mace_phase.cli import main

main()
