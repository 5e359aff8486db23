"""Answering: one turn, from what the store knows of its conversation to the reply that is published."""
