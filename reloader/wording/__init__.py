"""Text made safe to show, and messages: codes with values and their words."""
