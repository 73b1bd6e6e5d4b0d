"""Serves renditions: the edge, what it is told to forget, and signed links."""
