"""Forebay beside its peers: the same backlog, the same simulated calls, one broker, one session."""
