"""Flow control of model calls: retries, breakers, rate limits, adaptive concurrency, budgets. All decisions are pure."""
