"""The simulated Claude Managed Agents."""
