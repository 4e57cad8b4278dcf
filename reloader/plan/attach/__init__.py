"""Plans for attachments: attach, swap, take over, and hooks that change together."""
