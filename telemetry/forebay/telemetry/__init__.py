"""Logs, metrics, traces and health endpoints, which every process has."""
