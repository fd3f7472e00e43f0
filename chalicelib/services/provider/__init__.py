"""What a GLADOS provider does for application providers and for its peers."""
