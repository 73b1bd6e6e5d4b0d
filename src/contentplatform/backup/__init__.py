"""The second copy, far away: whether it is whole."""
