"""Places on network interfaces: XDP and traffic control."""
