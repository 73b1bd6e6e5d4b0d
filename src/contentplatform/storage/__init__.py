"""Keep bytes: versioned, tiered, content-addressed."""
