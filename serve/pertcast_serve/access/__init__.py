"""Who may call: keys and scopes, users named by a trusted proxy, limits a caller, the audit log."""
