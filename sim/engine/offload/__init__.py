"""Memory below the KV cache: its tiers and links, and the connector through which the scheduler uses them."""
