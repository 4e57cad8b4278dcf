"""XDP and traffic control on network interfaces, and what the two share."""
