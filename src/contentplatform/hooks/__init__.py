"""Webhooks: what happens to files is told to other programs, over HTTP."""
