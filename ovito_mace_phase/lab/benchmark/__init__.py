"""Speed, memory and error beside mace-torch, PTM and CNA."""
