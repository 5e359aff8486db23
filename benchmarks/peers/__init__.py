"""Other engines under the same contract, each a process of its own, each at its best."""
