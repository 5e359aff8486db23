"""HTTP handlers of the console, under ``/console/api``."""
