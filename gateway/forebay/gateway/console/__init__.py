"""The operations console, served at ``/console`` by every gateway: what the fleet does now, and what an operator can do."""
