"""Capacity: what a sale needs and what it will be like, by queueing theory and by simulation, before it is held."""
