"""Take files in, and what people do with them afterwards."""
