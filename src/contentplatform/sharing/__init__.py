"""Links for people without an account: shares that show files, and upload links that take some in."""
