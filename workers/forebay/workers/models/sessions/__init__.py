"""Sessions of Claude Managed Agents: what one needs, knows and does."""
