"""The engine: carries records of a keyed topic to a handler, in order within a key, and commits what is done."""
