"""What runs in sandboxed children, and nowhere else: the importers of every parser of untrusted bytes."""
