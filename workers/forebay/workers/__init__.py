"""What answers turns: the engine that reads and publishes them, assistants, models, conversations, flow control."""
