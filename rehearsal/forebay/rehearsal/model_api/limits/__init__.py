"""What the simulated provider allows, and what of it is used."""
