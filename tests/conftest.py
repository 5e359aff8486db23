"""What all tests share: a real Kafka and a simulated model API."""

pytest_plugins = ["rehearsal.fixtures"]
