"""The log as it happens, for other people's systems: webhooks, a file of JSON lines, syslog."""
