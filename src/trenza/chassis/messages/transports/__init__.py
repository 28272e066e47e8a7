"""What carries messages from outboxes to inboxes: one protocol, one module or package for each transport."""
