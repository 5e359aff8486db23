"""A complete shop: its assistant, tools, FAQ, and a small database that is made on first use."""
