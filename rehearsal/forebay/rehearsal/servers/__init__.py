"""Real servers on this machine, from wheels: Apache Kafka, Redis."""
