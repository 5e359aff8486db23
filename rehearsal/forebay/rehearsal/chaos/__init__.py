"""Chaos: a real Kafka, three workers and a model API with faults, and everything that can go wrong with them.

The seed alone decides what is said and what breaks after how many turns (`script`, `schedule`); what became of it is
counted from the topics themselves (`count`). Run it with ``python -m forebay.rehearsal.chaos``.
"""
