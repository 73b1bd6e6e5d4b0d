"""What is done when, in UTC."""
