"""What it costs: prices, estimates, the weekly report."""
