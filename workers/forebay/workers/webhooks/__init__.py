"""Webhooks: replies pushed to the servers of shops. The engine carries them, from ``chat.replies``."""
