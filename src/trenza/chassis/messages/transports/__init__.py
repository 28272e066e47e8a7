"""What carries messages from outboxes to inboxes: one protocol, one module for each transport."""
