"""Tells people what they should know."""
