"""A sale in a box: traffic, customers, faults, workers that come and go as KEDA would have them, and a report."""
