"""What was answered to a write that carried an idempotency key, so that its repetition gets the same answer."""
