"""The same job without Spillway, as a team would write it: no store, no dead letters, the SDK's own retries."""
