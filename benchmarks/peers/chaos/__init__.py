"""The same job without Forebay, as a team would write it: no store, no dead letters, the SDK's own retries."""
