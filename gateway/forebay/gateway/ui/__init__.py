"""The API for pages that use the AI SDK."""
