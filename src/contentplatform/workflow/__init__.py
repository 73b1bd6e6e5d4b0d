"""Drive one version through; keep the ledger of what happened."""
