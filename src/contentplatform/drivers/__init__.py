"""The edges of the process: database, child processes, sandbox. Each vendor package is imported in one place here."""
