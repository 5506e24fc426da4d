"""Export streams: the log as it grows, for other systems: webhooks, a file of JSON lines, syslog."""
