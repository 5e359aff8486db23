"""Conversations: what was said, and which turns were answered with what."""
