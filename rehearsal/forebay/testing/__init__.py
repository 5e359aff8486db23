"""The kit for tests of your own: a real Kafka and Redis, the simulated model API."""
