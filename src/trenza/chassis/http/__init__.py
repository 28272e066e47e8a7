"""The HTTP surface that every service has: problems, limits, uploads, idempotency, pages and content."""
