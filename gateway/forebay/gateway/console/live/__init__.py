"""The state of the fleet, sampled once a second and sent to every open console."""
