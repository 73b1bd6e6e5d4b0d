"""Know what we hold: records, the ledger of versions, search."""
