"""The rules that a careful team checks, as data."""
