"""The world around Forebay, simulated: embedded Kafka and Redis, model API, customers, sales, chaos."""
