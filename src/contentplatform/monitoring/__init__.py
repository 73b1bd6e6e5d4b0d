"""Alarms and the dashboard, as data."""
