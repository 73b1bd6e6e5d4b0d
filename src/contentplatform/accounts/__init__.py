"""Who may do what: users, roles, sessions, API tokens, quotas, and a log of it that can't be changed unseen."""
