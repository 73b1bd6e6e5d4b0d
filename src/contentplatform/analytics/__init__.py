"""Tables over the logs and the catalog, and ready questions to them."""
