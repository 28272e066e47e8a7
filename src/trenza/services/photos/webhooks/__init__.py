"""Webhooks: telling a URL of somebody else's what became of a photo."""
