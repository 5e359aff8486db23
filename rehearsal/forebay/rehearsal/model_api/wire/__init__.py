"""The vendors' wire formats: requests read, answers and errors written."""
