"""The door for pages that are written with the AI SDK."""
