"""How `phases/table.json` is made from the source data."""
