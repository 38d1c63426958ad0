"""Where images come from, how they are packed, and the packed format that everything reads."""
