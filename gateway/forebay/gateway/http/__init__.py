"""What every request passes: who calls, what is asked, whether there is room, and what a refusal looks like."""
