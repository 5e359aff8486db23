"""The operations console: what the fleet does now, and an operator's hand on it. Served at ``/console`` by every gateway."""
