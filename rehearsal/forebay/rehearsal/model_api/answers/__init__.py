"""What the simulated model answers: pure functions of the prompt."""
