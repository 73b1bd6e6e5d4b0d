"""The platform's functions on AWS Lambda: each a few lines over the services, one module a function."""
