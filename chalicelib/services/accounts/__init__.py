"""Application providers as both roles know them: who is enrolled, and who is asking."""
